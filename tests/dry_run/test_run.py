"""The dry run as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from whole_runs import dry_run, needs_simulation

from beit_exp import doctor
from beit_exp.dry_run import stubs

TINY = (
    *("model.embed_dim=32", "model.depth=1", "model.num_heads=2", "model.patch_size=16"),
    *("train.batch_size=4", "hardware.num_parallel_workers=2"),
)


def test_help_tells_of_the_overrides(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        doctor.main(["--dry-run", "--help"])
    assert "overrides" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hardware=cpu"], "must be ascend for a dry run"),
        (["model.depht=2"], "Did you mean model.depth?"),
        (["train.batch_size=0"], "train.batch_size = 0"),
    ],
)
def test_what_the_user_can_mend_ends_with_status_2_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        status = doctor.main(["--dry-run", "ascend", *words])
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_machine_ends_with_status_2_before_any_work(monkeypatch, capsys) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr("beit_exp.dry_run.simulation.CANN", Path("/nowhere"))
    monkeypatch.setattr(stubs.platform, "machine", lambda: "aarch64")
    assert doctor.main(["--dry-run", "ascend"]) == 2
    assert "here are Linux and aarch64" in capsys.readouterr().err


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any]]:
    """A small quickstart as rank 0 of 2: its folder, what it said, and its JSON."""
    folder = tmp_path_factory.mktemp("dry_run")
    done = dry_run(folder, *TINY, "hardware.device_num=2", "--json", "found.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout, json.loads((folder / "found.json").read_text())


@needs_simulation
@pytest.mark.slow
def test_a_quickstart_compiles_to_kernels_of_the_card_alone(ranks) -> None:
    _, _, found = ranks
    (stage,) = found["stages"]
    assert [row["name"] for row in stage["graphs"]] == [
        *("GradientCell.construct", "UpdateCell.construct", "BEiT.construct")
    ]
    assert [row["runs"] for row in stage["graphs"]][:2] == [2, 2]  # two steps, nothing anew
    for row in stage["graphs"]:
        assert row["compile_s"] > 0
        assert row["kernels"]["aclnn"] > 0 and "host" not in row["kernels"]
    assert len(stage["findings"]) == 4 and not any(stage["findings"].values())


@needs_simulation
@pytest.mark.slow
def test_every_gradient_goes_through_an_all_reduce_and_the_loss(ranks) -> None:
    _, _, found = ranks
    (stage,) = found["stages"]
    (sent,) = stage["graphs"][0]["collectives"]
    assert sent["op"] == "AllReduce" and sent["detail"] == "Float32"
    told = 4  # loss, norm, overflow, stop
    assert sent["size_bytes"] == 4 * (parameter_count() + told)
    assert stage["gathered_bytes"]


def parameter_count() -> int:
    """Of the tiny quickstart's network, position embeddings and all."""
    from beit_exp.config.mapping import build_config
    from beit_exp.launch.overrides import typed_values
    from beit_exp.model import cost

    return cost.parameter_count(build_config(typed_values(list(TINY))).model, num_classes=10)


@needs_simulation
@pytest.mark.slow
def test_products_of_an_evaluation_are_in_half_precision_on_the_card_too(ranks) -> None:
    _, _, found = ranks
    evaluation = found["stages"][0]["graphs"][-1]
    assert {one["detail"] for one in evaluation["products"]} == {"Float16"}


@needs_simulation
@pytest.mark.slow
def test_planned_memory_is_told_beside_our_own_count(ranks) -> None:
    _, text, found = ranks
    (stage,) = found["stages"]
    assert stage["planned_bytes"] > stage["computed_bytes"] > 0
    words = " ".join(text.split())
    assert "peak memory planned" in words and "by our own count" in words


@needs_simulation
@pytest.mark.slow
def test_a_dry_run_says_what_it_changed_and_leaves_nothing(ranks) -> None:
    folder, text, _ = ranks
    assert "train.epochs 40 -> 2" in text
    assert "one generated picture, in 10 classes" in text
    assert {path.name for path in folder.iterdir()} == {"cache", "found.json"}


@needs_simulation
@pytest.mark.slow
def test_a_run_that_fails_ends_with_status_1_its_reason_and_its_folder(ranks) -> None:
    folder, _, _ = ranks
    (folder / "junk.safetensors").write_text("no weights")
    done = dry_run(folder, *TINY, "model.pretrained=junk.safetensors")
    assert done.returncode == 1
    assert "!!  the worker in" in done.stdout and "junk.safetensors" in done.stdout
    (kept,) = folder.glob("beit_exp_dry_run_*")
    assert str(kept) in done.stderr
    shutil.rmtree(kept)


@needs_simulation
@pytest.mark.slow
@pytest.mark.parametrize(
    ("card", "reads_status", "fuses"),
    [("910A", True, False), pytest.param("910B", False, True, marks=pytest.mark.long)],
)
def test_a_card_that_saturates_is_asked_for_its_status_and_a_later_one_fuses(
    card: str, reads_status: bool, fuses: bool, tmp_path: Path
) -> None:
    done = dry_run(tmp_path, *TINY, "--card", card, "--json", "found.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    (stage,) = found["stages"]
    assert (found["card"], any(stage["findings"].values())) == (card, False)
    step = stage["graphs"][0]
    assert ("NPUGetFloatStatusV2" in str(step["kernel_names"])) == reads_status
    assert ("fused" in step["kernels"]) == fuses


@needs_simulation
@pytest.mark.slow
def test_a_card_is_asked_for_what_it_has_alone(tmp_path: Path) -> None:
    done = dry_run(tmp_path, *TINY, "--card", "910A", "hardware.half=bfloat16")
    assert done.returncode == 1
    assert "hardware.half = 'bfloat16': this card has float16 alone" in done.stdout
