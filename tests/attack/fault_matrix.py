"""Whole runs under faults: `cd tests && python -m attack.fault_matrix [PATTERN ...]`.

Every fault strikes in every phase of a run of its own. What a user would mend is mended, the same
command is typed once more, and the run has to end as one that nothing struck: the same weights and
metrics, on disk and in the store. Prints a table: the exit status of the struck command in each
phase, with `=` where the end is equal, `refused` where the only checkpoint is damaged, and `told`
where a record is lost that a checkpoint counts, which is said. A pattern such as `step/*` chooses
phases and faults.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from subprocess import TimeoutExpired

from settings import ROOT
from whole_runs import (
    Command,
    choose_digits,
    metrics_of,
    run_id,
    same_weights,
    thorough,
    without_times,
)

from attack.faults import AGAIN, DATA, FAULT, FAULTS, PLACES, RUN, STORE, STRUCK
from beit_exp.data.digits import write_digits
from beit_exp.hardware.process import STOPS
from beit_exp.tracking.mlflow_store import open_store
from beit_exp.tracking.records import read_records

HERE = Path(__file__).parent
AT_ONCE = 2
TIMEOUT_S = 300
DAMAGE, CUT = "newest checkpoint damaged", "last record cut"
ALL_DAMAGED = "none of the 1 checkpoints"  # no run is begun anew where a checkpoint was


def settings(run_dir: Path = RUN) -> tuple[str, ...]:
    images = ("dataset=image_folder", "dataset.num_classes=10", "dataset.crop_pct=1.0")
    return (*thorough(DATA, *images, epochs=4), f"hydra.run.dir={run_dir}")


def strike(phase: str, fault: str, folder: Path, whole: Path) -> str:
    """One run under one fault, and once more without: its cell of the table.

    `whole` is the directory of a run that nothing struck. `AssertionError` says what did not hold.
    """
    again = "\n".join([str(ROOT / "launch.py"), *settings()])
    paths = [HERE / "injected", HERE.parent, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        FAULT: f"{phase}/{fault}",
        AGAIN: again,
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths if str(path)),
    }
    struck = Command(folder, environment)(*settings(), timeout_s=TIMEOUT_S)
    said = struck.stdout + struck.stderr
    assert (folder / STRUCK).exists(), f"the run did not come by: {said}"
    assert struck.returncode in FAULTS[fault].statuses, f"ended with {struck.returncode}: {said}"
    assert "Traceback" not in said, said
    run_dir = mend(folder)
    done = Command(folder)(*settings(run_dir), timeout_s=TIMEOUT_S)
    if fault == DAMAGE and done.returncode == 2 and ALL_DAMAGED in done.stdout:
        return f"{struck.returncode}, refused"
    assert done.returncode == 0, f"did not go on: {said}\n---\n{done.stdout + done.stderr}"
    if fault == CUT and "its metrics are lost" in done.stdout:  # a checkpoint counts the record
        assert same_weights(folder / run_dir, whole), "other weights"
        assert metrics_of(folder / run_dir) == metrics_of(whole), "other metrics"
        return f"{struck.returncode}, told"
    check_equal(folder / run_dir, whole)
    check_stored(folder, folder / run_dir)
    return f"{struck.returncode} ="


def mend(folder: Path) -> Path:
    """Undo what a fault did to the folder of a launcher; returns where the run is now."""
    if (away := folder / "mlflow.away").exists():
        shutil.rmtree(folder / STORE)
        away.rename(folder / STORE)
    if (away := folder / "data.away").exists():
        away.rename(folder / DATA)
    if (second := folder / "second.txt").exists():
        said = second.read_text()
        assert said.startswith("2\n") and "another process is at work" in said, said
    return Path("moved") if (folder / "moved").exists() else RUN


def check_equal(run_dir: Path, whole: Path) -> None:
    """The same weights and metrics, bit for bit, and nothing left of what was being written."""
    assert same_weights(run_dir, whole), "other weights"
    assert without_times(run_dir) == without_times(whole), "other records"
    assert metrics_of(run_dir) == metrics_of(whole), "other metrics"
    litter = [path.name for path in run_dir.rglob(".*")]
    assert not litter, f"left behind: {litter}"
    assert not (run_dir / "failed.json").exists(), "marked as failed"


def check_stored(folder: Path, run_dir: Path) -> None:
    """The store holds the run as finished, with every value."""
    client = Command(folder).client()
    run = client.get_run(run_id(run_dir))
    assert run.info.status == "FINISHED", f"{run.info.status} in the store"
    found = client.get_metric_history(run.info.run_id, "train/loss")
    logged = [
        (record["step"], record["train/loss"])
        for record in read_records(run_dir / "metrics.jsonl")
        if "train/loss" in record
    ]
    stored = sorted({(metric.step, metric.value) for metric in found})
    assert stored == logged, f"{len(stored)} of {len(logged)} losses in the store"


def begin(folder: Path) -> Path:
    """A run that nothing struck, for the others to be compared with; returns its directory."""
    write_digits(folder.with_name("digits"))
    choose_digits(folder.with_name("digits"), folder / DATA)
    open_store(f"sqlite:///{folder / STORE}").search_experiments(max_results=1)
    shutil.copytree(folder, folder.with_name("fresh"))  # what every run begins with
    done = Command(folder)(*settings(), timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / RUN


def main(top: Path, cells: Sequence[tuple[str, str]]) -> list[str]:
    """Print a table of some (fault, phase), faults in rows; returns what did not hold."""
    (top / "whole").mkdir()
    whole = begin(top / "whole")
    failures: list[str] = []

    def cell(fault: str, phase: str) -> str:
        folder = top / f"{phase} {fault}"
        shutil.copytree(top / "fresh", folder)
        try:
            found = strike(phase, fault, folder, whole)
        except (AssertionError, TimeoutExpired) as error:
            failures.append(f"{fault}, {phase} ({folder}): {error}")
            return "not held"
        shutil.rmtree(folder)
        return found

    print("|", " | ".join(["fault", *PLACES]), "|")
    print("|---" * (1 + len(PLACES)) + "|", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = {key: pool.submit(cell, *key) for key in cells}
        for fault in dict.fromkeys(fault for fault, _ in cells):
            row = [
                found[key].result() if (key := (fault, phase)) in found else "" for phase in PLACES
            ]
            print("|", " | ".join([fault, *row]), "|", flush=True)
    print(f"{len(cells)} tried, {len(failures)} did not hold")
    for failure in failures:
        print(failure)
    return failures


def matching(patterns: Sequence[str]) -> list[tuple[str, str]]:
    """The (fault, phase) that some pattern of `phase/fault` fits, all without a pattern."""
    return [
        (fault, phase)
        for fault, phase in product(FAULTS, PLACES)
        if any(fnmatch(f"{phase}/{fault}", pattern) for pattern in patterns or ["*"])
    ]


if __name__ == "__main__":
    for number in STOPS:  # as a terminal has it: nohup, and a job in the background, ignore some
        signal.signal(number, signal.SIG_DFL)
    top = Path(tempfile.mkdtemp(prefix="beit_exp_faults_"))
    sys.exit(bool(main(top, matching(sys.argv[1:]))))
