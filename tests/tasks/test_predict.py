from __future__ import annotations

import csv
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from agreement import agree
from settings import GOLDEN
from whole_runs import Command, best_of


def test_prediction_lists_every_image_in_path_order(
    finished: tuple[Command, Path], work: Callable[..., Path], few_digits: Path
) -> None:
    images = few_digits / "val"
    run_dir = work("task=predict", f"checkpoint={finished[1]}", f"images={images}")
    with (run_dir / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    logits = np.load(run_dir / "logits.npy")
    assert [row["path"] for row in rows] == sorted(str(path) for path in images.rglob("*.png"))
    assert logits.shape == (50, 10)
    assert [row["class1"] for row in rows] == [str(best) for best in logits.argmax(axis=1)]
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert float(rows[0]["probability1"]) == pytest.approx(probabilities.max(), abs=1e-5)
    hits = np.mean([row["class1"] == Path(row["path"]).parent.name for row in rows])
    assert 100 * hits == pytest.approx(best_of(finished[1])["val/top1"])


@pytest.mark.slow
def test_a_tar_of_images_is_predicted_as_its_folder(
    finished: tuple[Command, Path], few_digits: Path, tmp_path: Path
) -> None:
    command, run_dir = finished
    folder, archive_path = few_digits / "val" / "3", tmp_path / "images.tar.gz"
    with tarfile.open(archive_path, "w:gz") as archive:
        archive.add(folder, "some/3")
    works = {
        "tar": (archive_path, ()),
        "dir": (folder, ()),
        "flip": (folder, ("evaluation.flip=true",)),
    }
    for name, (images, more) in works.items():
        done = command(
            "task=predict",
            f"checkpoint={run_dir}",
            f"images={images}",
            *more,
            f"hydra.run.dir={name}",
        )
        assert done.returncode == 0, done.stdout + done.stderr
    logits = {name: np.load(command.folder / name / "logits.npy") for name in works}
    np.testing.assert_array_equal(logits["tar"], logits["dir"])
    assert np.abs(logits["flip"] - logits["dir"]).max() > 1e-3
    with (command.folder / "tar" / "predictions.csv").open() as file:
        names = [row["path"] for row in csv.DictReader(file)]
    assert names == [f"some/3/{path.name}" for path in sorted(folder.iterdir())]
    assert [
        path.name for path in (command.folder / "tar").iterdir() if path.name.startswith(".images")
    ] == []


def test_official_weights_predict_timms_logits_on_image_files(
    work: Callable[..., Path],
) -> None:
    reference = np.load(GOLDEN / "model" / "rel_pos" / "reference.npz")
    run_dir = work(
        "task=predict",
        f"checkpoint={GOLDEN / 'model' / 'rel_pos' / 'official.pth'}",
        f"images={GOLDEN / 'eval'}",
        "model.embed_dim=48",
        "model.depth=3",
        "model.num_heads=3",
        "model.abs_pos_emb=false",
        "dataset.crop_pct=0.875",
    )
    logits = np.load(run_dir / "logits.npy")
    expected = np.load(GOLDEN / "predict_logits.npz")
    assert [path.name for path in sorted((GOLDEN / "eval").glob("*.jpg"))] == expected[
        "names"
    ].tolist()
    agree("logits of photographs through task=predict", logits, expected["logits"], within=1e-4)
    assert reference["logits"].shape[1] == logits.shape[1]
