"""Object storage, on the loopback interface, and what its loss costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_runs import Command, records, small, wait_for

from beit_exp.train.checkpoint import CheckpointFolder

pytestmark = pytest.mark.slow


def test_data_weights_and_checkpoint_copies_in_object_storage(
    s3, launch: Command, few_digits: Path
) -> None:
    _, client = s3
    for path in few_digits.rglob("*.png"):
        client.upload_file(str(path), "bucket", f"digits/{path.relative_to(few_digits)}")
    settings = (
        "dataset.name=image_folder",
        "train.checkpoint_url=s3://bucket/copies",
        "hydra.run.dir=first",
    )
    first = launch(*small("s3://bucket/digits", *settings))
    assert first.returncode == 0, first.stdout + first.stderr
    keys = [
        entry["Key"]
        for entry in client.list_objects_v2(Bucket="bucket", Prefix="copies/")["Contents"]
    ]
    assert keys == ["copies/step_00000005.safetensors", "copies/step_00000010.safetensors"]
    local = launch(
        *small(few_digits, "model.pretrained=obs://bucket/copies/step_00000010.safetensors")
    )
    assert local.returncode == 0, local.stdout + local.stderr
    assert "left new       0" in local.stdout
    missing = launch(*small(few_digits, "model.pretrained=s3://bucket/nothing.safetensors"))
    assert missing.returncode == 2 and "the object store has nothing there" in missing.stdout


@pytest.mark.long
def test_a_store_that_goes_away_costs_no_checkpoint(s3, launch: Command, few_digits: Path) -> None:
    server, _ = s3
    run_dir = launch.folder / "run"
    process = launch.start(
        *small(few_digits, "train.checkpoint_url=s3://bucket/copies", epochs=30),
        "hydra.run.dir=run",
    )
    wait_for(lambda: records(run_dir) >= 20, process)
    server.stop()
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err
    assert "was not copied to s3://bucket/copies" in out
    assert (
        CheckpointFolder(run_dir / "checkpoints", keep=1).load_newest().state["trainer"]["step"]
        == 150
    )
