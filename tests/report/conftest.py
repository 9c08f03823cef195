from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_runs import write_run


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """Three finished jobs, one still at work, one that never started."""
    for decay, top1 in ((0.65, (50.0, 70.0)), (0.75, (60.0, 80.0, 75.0)), (0.85, (40.0,))):
        folder = tmp_path / "sweep" / f"optimizer.layer_decay={decay}"
        (folder / "plots").mkdir(parents=True)
        write_run(
            folder,
            f"optimizer.layer_decay={decay}",
            "tracking.run_name=x",
            top1=top1,
            is_done=decay != 0.85,
        )
    refused = tmp_path / "sweep" / "optimizer.layer_decay=2"
    refused.mkdir()
    (refused / "failed.json").write_text(
        json.dumps({"exit_status": 2, "message": "1 setting is wrong:\n  x"})
    )
    return tmp_path / "sweep"
