"""What the tests of whole runs share: the command, small settings, what a run left, and its
processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from settings import ROOT, TINY, make_config

from beit_exp.config.mapping import save_config
from beit_exp.dry_run import stubs
from beit_exp.dry_run.simulation import CANN
from beit_exp.errors import UserError
from beit_exp.hardware.cluster import free_port
from beit_exp.tracking.records import read_records


class Command:
    """`python launch.py ...` in a folder of its own, as a user would type it."""

    def __init__(
        self, folder: Path, more: Mapping[str, str] | None = None, *, within: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.more = dict(more or {})  # of environment variables
        self.within = within  # a command that begins this one somewhere else

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"
        }
        return subprocess.Popen(
            [*self.within, sys.executable, str(ROOT / "launch.py"), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, **self.more},
        )

    def __call__(self, *arguments: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    def runs(self):
        """Every tracked run, the oldest first."""
        client = self.client()
        experiment = client.get_experiment_by_name("beit")
        return list(
            reversed(
                client.search_runs(
                    [experiment.experiment_id], order_by=["attributes.start_time DESC"]
                )
            )
        )


def can_simulate() -> bool:
    """Whether this machine can make the stubs of a dry run, and has no CANN of its own."""
    try:
        stubs.check_platform()
    except UserError:
        return False
    return not CANN.exists()


needs_simulation = pytest.mark.skipif(
    not can_simulate(), reason="stubs are made on Linux with x86-64, gcc and nm, where CANN is not"
)


def dry_run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m beit_exp.doctor --dry-run ascend ...`, whose files stay in that folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(folder),
        "BEIT_EXP_CACHE": str(folder / "cache"),
    }
    return subprocess.run(
        [sys.executable, "-m", "beit_exp.doctor", "--dry-run", "ascend", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def copy_sources(folder: Path) -> None:
    """What is under version control, as it is now: to build from, without leaving anything here."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())


def newest_tensors(run_dir: Path) -> dict[str, np.ndarray]:
    """All that the newest checkpoint of a run holds."""
    return load_file(sorted((run_dir / "checkpoints").glob("step_*"))[-1])


def same_weights(first: Path, second: Path) -> bool:
    one, other = newest_tensors(first), newest_tensors(second)
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


def best_of(run_dir: Path) -> dict[str, float]:
    """The validation metrics of a run's best weights, which other tasks take."""
    metrics = metrics_of(run_dir)
    names = ("loss", "top1", "top5", "balanced_accuracy", "macro_f1")
    return {f"val/{name}": metrics[f"best/val/{name}"] for name in names}


def metrics_of(run_dir: Path) -> dict[str, float]:
    return json.loads((run_dir / "metrics.json").read_text())


def without_times(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run but for what the clock says."""
    records = [
        {key: value for key, value in record.items() if not key.startswith("time")}
        for record in read_records(run_dir / "metrics.jsonl")
    ]
    return [record for record in records if record.keys() > {"step", "epoch"}]


def small(data: Path | str, *more: str, epochs: int = 2) -> tuple[str, ...]:
    """Overrides of a run of seconds, which evaluates and saves after every epoch."""
    return (
        *TINY,
        f"dataset.data_url={data}",
        f"train.epochs={epochs}",
        "train.eval_every_epochs=1",
        "train.save_every_epochs=1",
        *more,
    )


def thorough(data: Path | str, *more: str, epochs: int = 12) -> tuple[str, ...]:
    """Every kind of state at once: augmentation, drop path, averaged weights, a dynamic loss scale,
    accumulation.
    """
    return small(
        data,
        "augment=finetune_mixup",
        "model.drop_path_rate=0.2",
        "train.ema_decay=0.9",
        "train.batch_size=8",
        "train.accumulate_steps=2",
        "hardware.amp_level=O1",
        "hardware.is_dynamic_loss_scale=true",
        "hardware.loss_scale=1024",
        "hardware.loss_scale_window=7",
        *more,
        epochs=epochs,
    )


def choose_digits(digits: Path, folder: Path) -> None:
    """A data set of 80 training and 50 validation digits, for runs of seconds."""
    for split, each in (("train", 8), ("val", 5)):
        for label in range(10):
            target = folder / split / str(label)
            target.mkdir(parents=True)
            for path in sorted((digits / split / str(label)).iterdir())[:each]:
                (target / path.name).write_bytes(path.read_bytes())


def children(pid: int) -> list[int]:
    """Every process below one."""
    try:
        direct = [
            int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []
    return direct + [below for child in direct for below in children(child)]


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 300
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def records(run_dir: Path) -> int:
    return (
        len(read_records(run_dir / "metrics.jsonl")) if (run_dir / "metrics.jsonl").exists() else 0
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run_id(run_dir: Path) -> str:
    return json.loads((run_dir / "mlflow.json").read_text())["run_id"]


class TrackingServer:
    """A real `mlflow server` on the loopback interface."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> TrackingServer:
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=self.folder, **quiet)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2)
            except OSError:
                time.sleep(0.5)
            else:
                return self
        raise TimeoutError("the tracking server did not start")

    def __exit__(self, *_: object) -> None:
        for pid in [*children(self.process.pid), self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(self.uri)


def write_run(folder: Path, *overrides: str, top1: tuple[float, ...], is_done: bool = True) -> None:
    """A run directory as a run leaves it, with an evaluation an epoch."""
    save_config(make_config(*overrides), folder / "config.yaml")
    records = []
    for epoch, value in enumerate(top1, start=1):
        record = {"step": 10 * epoch, "epoch": float(epoch), "time": 1000.0 + 60 * epoch}
        records.append({**record, "train/loss": 1 / epoch, "time/images_per_s": 100.0 * epoch})
        records.append({**record, "val/top1": value, "val/top5": 90.0, "val/loss": 2 - value / 100})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if is_done:
        (folder / "metrics.json").write_text("{}")
    Image.new("RGB", (300, 200)).save(
        (folder / "plots" / "schedule.png").open("wb")
    ) if top1 else None
