from __future__ import annotations

from pathlib import Path

import pytest
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.report.__main__ import main


def test_sync_copies_checkpoints_too_also_where_the_tracking_store_is_dead(
    s3, silent_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = make_config(
        f"tracking.uri={silent_store}", "train.checkpoint_url=s3://bucket/copies", "seed=7"
    )
    save_config(cfg, tmp_path / "run" / "config.yaml")
    (tmp_path / "run" / "checkpoints").mkdir()
    for name in ("step_00000005.safetensors", "step_00000010.safetensors", "best.safetensors"):
        (tmp_path / "run" / "checkpoints" / name).write_text(name)
    assert main(["sync", str(tmp_path / "run")]) == 2
    told = capsys.readouterr()
    assert "the tracking store failed (" in told.err
    names = ["step_00000005.safetensors", "step_00000010.safetensors"]
    assert f"{', '.join(names)} copied to s3://bucket/copies" in told.out
    held = s3[1].list_objects_v2(Bucket="bucket")["Contents"]
    assert [entry["Key"] for entry in held] == [f"copies/{name}" for name in names]


def test_a_store_that_fails_is_named_without_its_password(
    silent_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", silent_store.replace("//", "//me:pa55@"), "beit"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("the tracking store http://me:***@127.0.0.1:9 failed (")
    assert "pa55" not in told.out + told.err
