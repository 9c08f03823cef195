"""What only a worker can see ends as cleanly as a wrong command."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from settings import GOLDEN
from whole_runs import Command

FOUND_AT_WORK = {  # what only a worker can see: it ends as cleanly
    "no such device": (
        ("hardware=ascend",),
        "hardware.device_target = 'ascend': MindSpore 2.10.0 finds no such device",
    ),
    "weights of another network": (
        ("model.pretrained=other.pth",),
        "other.pth does not fit the network",
    ),
    "weights that carry code": (
        ("model.pretrained=evil.pth",),
        "evil.pth is refused: it asks to run os.system",
    ),
    "truncated weights": (("model.pretrained=cut.pth",), "cut.pth is truncated"),
    "junk weights": (("model.pretrained=junk.safetensors",), "junk.safetensors cannot be read"),
    "weights of no known format": (
        ("model.pretrained=notes.txt",),
        "weights are read from .pth, .pt, .bin",
    ),
    "an empty class folder": (
        ("dataset=image_folder", "dataset.data_url=pets", "dataset.num_classes=2"),
        "the class folder pets/train/cat holds no image",
    ),
    "nothing to predict": (
        ("task=predict", "checkpoint=other.pth", "images=pets"),
        "the folder holds no image",
    ),
    "too few images": (
        ("train.batch_size=5000",),
        "train.batch_size = 5000: the 80 training images make no full step",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FOUND_AT_WORK)
def test_fault_found_at_work_ends_in_one_clear_message(
    case: str, launch: Command, few_digits: Path
) -> None:
    arguments, message = FOUND_AT_WORK[case]
    make_faulty_files(launch.folder)
    done = launch(f"dataset.data_url={few_digits}", *arguments)
    assert message in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 2
    assert [run.info.status for run in launch.runs()] == ["FAILED"]


def make_faulty_files(folder: Path) -> None:
    official = (GOLDEN / "model" / "rel_pos" / "official.pth").read_bytes()
    (folder / "other.pth").write_bytes(official)
    (folder / "cut.pth").write_bytes(official[: len(official) // 2])
    (folder / "junk.safetensors").write_bytes(b"junk" * 99)
    (folder / "notes.txt").write_text("weights")
    with zipfile.ZipFile(folder / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch was_here'\ntR.")
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / "pets" / split / name).mkdir(parents=True)
