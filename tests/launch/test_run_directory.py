from __future__ import annotations

from pathlib import Path

from beit_exp.launch.run_directory import last_error


def test_the_last_error_of_a_log_is_what_a_failed_job_says(tmp_path: Path) -> None:
    lines = [
        "12:00 INFO a: x",
        "12:01 ERROR beit_exp.worker: the first",
        "12:02 ERROR beit_exp.worker: key: value",
    ]
    (tmp_path / "launch.log").write_text("\n".join(lines))
    assert last_error(tmp_path) == "key: value"
    assert last_error(tmp_path / "nowhere") is None
