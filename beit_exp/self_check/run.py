"""The self-check: does this machine's device compute what it should, in training as in the tests?

`python -m beit_exp.doctor --self-check [OVERRIDES]`, on all cards or, where there is none, on two
processes of a CPU: a small network against timm's, layer norm's gradient, an overflow, the ranks,
the time of a step, a SIGTERM and a resume. Each line passes or fails with its numbers, and one file
holds what a maintainer would ask for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import build_config, save_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.cluster import world_size
from beit_exp.hardware.environment import cann_version, git_tags
from beit_exp.hardware.process import shell_status, worker_environment
from beit_exp.hardware.terminal import complain
from beit_exp.launch.overrides import typed_values
from beit_exp.launch.tokenizer_first import merge
from beit_exp.self_check.line import Line, merge_ranks
from beit_exp.self_check.resuming import check_resume
from beit_exp.storage.files import write_atomically

FILE = Path("self_check.json")
CONFIG, FACTS, OUTPUT = "config.yaml", "facts.json", "output.log"
RANKS = "rank_*.json"
MEMBER = [sys.executable, "-m", "beit_exp.self_check.member"]
CHECKING = "checking "  # begins what a process says of its progress
LOG_LINES = 200
PROCESSES_ON_CPU = 2
LIBRARIES = ("beit-exp", "mindspore", "numpy")
READ_BY_LIBRARIES = ("ASCEND_", "DEVICE_", "GLOG_", "HCCL_", "MS_", "OMP_", "ONEDNN_", "RANK_")
SMALL_RUN = ("model.depth=2", "train.batch_size=32", "train.log_every_steps=1")
SMALL_EPOCHS, SMALL_CLASS = 4, 64  # of the digits, so many images a class


def main(arguments: list[str], *, cards: int) -> int:
    """Exit status 0: nothing failed; 1: something did; 2: something the user can mend."""
    options = parse(arguments)
    folder = Path(tempfile.mkdtemp(prefix="beit_exp_self_check_"))
    try:
        cfg = settings(options.overrides, cards=cards)
        processes = world_size(cfg.hardware)
        print(f"a self-check of {processes} x {cfg.hardware.device_target}, a minute or two")
        lines = [*check_device(cfg, folder), *check_runs(cfg, folder)]
        write_atomically(options.file, json.dumps(report(lines, cfg, folder), indent=1).encode())
        return show(lines, options.file)
    except UserError as error:
        complain(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m beit_exp.doctor --self-check",
        description="Check what this machine's device computes.",
    )
    parser.add_argument(
        "overrides", nargs="*", help="as for launch.py; none: all cards, or the CPU"
    )
    parser.add_argument("--file", type=Path, default=FILE, help="what to send to maintainers")
    return parser.parse_intermixed_args(arguments)


def settings(overrides: list[str], *, cards: int) -> Config:
    """The settings to check by; the network and the batch are what is timed."""
    words = list(overrides)
    if not any(word.startswith("hardware=") for word in words):
        device, number = ("ascend", cards) if cards else ("cpu", PROCESSES_ON_CPU)
        words = [f"hardware={device}", f"hardware.device_num={number}", *words]
        words += [] if cards else ["hardware.amp_level=O1"]
    if cards and not any(word.startswith(("experiment=", "model=")) for word in words):
        words.insert(0, "experiment=imagenet_base")
    cfg = build_config(typed_values(words))
    if cfg.hardware.node_num not in (None, 1):
        raise UserError(
            f"hardware.node_num = {cfg.hardware.node_num}: must be 1: the self-check is of one "
            "server; start it on each"
        )
    return cfg


def check_device(cfg: Config, folder: Path) -> list[Line]:
    """What the processes of all devices found."""
    save_config(cfg, folder / CONFIG)
    status = run_members(folder)
    ranks = [told(path)["lines"] for path in sorted(folder.glob(RANKS), key=_rank)]
    lines = merge_ranks([[Line(**line) for line in each] for each in ranks])
    if status and not any(line.passed is False for line in lines):
        last = (tail(folder / OUTPUT) or ["it said nothing"])[-1]
        lines.append(Line("the processes", f"ended with exit status {status}: {last}", False))
    return lines


def run_members(folder: Path) -> int:
    """Run a process on every device, say what they check, and return what a shell would."""
    with (
        (folder / OUTPUT).open("w") as output,
        subprocess.Popen(
            [*MEMBER, str(folder)],
            env=worker_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.write(line)
                if line.startswith(CHECKING):
                    print(line, end="", flush=True)
            return shell_status(process.wait())
        finally:
            process.terminate()


def check_runs(cfg: Config, folder: Path) -> list[Line]:
    """What whole trainings on these devices found, digits the images."""
    print(f"{CHECKING}a SIGTERM and a resume", flush=True)
    small = build_config(typed_values(list(SMALL_RUN))).model_dump()
    hardware = {**cfg.hardware.model_dump(), "is_deterministic": True}
    epochs = dict.fromkeys(("epochs", "eval_every_epochs", "save_every_epochs"), SMALL_EPOCHS)
    changes: dict[str, Any] = {
        "hardware": hardware,
        "train": epochs,
        "dataset": {"data_url": str(folder / "digits"), "images_per_class": SMALL_CLASS},
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}"},
    }
    outcome = check_resume(folder, build_config(merge(small, changes)))
    return [Line("a SIGTERM and a resume", outcome.seen, outcome.passed)]


def report(lines: list[Line], cfg: Config, folder: Path) -> dict[str, Any]:
    """All that a maintainer would ask for; no name of a host or a user."""
    facts = folder / FACTS
    read = {name: value for name, value in os.environ.items() if name.startswith(READ_BY_LIBRARIES)}
    return {
        "lines": [line.__dict__ for line in lines],
        "device": json.loads(facts.read_text()) if facts.exists() else None,
        "versions": {name: metadata.version(name) for name in LIBRARIES}
        | {"python": platform.python_version(), "platform": platform.platform()}
        | {"cann": cann_version(), **git_tags()},
        "environment": read,
        "ranks": {path.stem: told(path) for path in sorted(folder.glob(RANKS), key=_rank)},
        "logs": {
            str(path.relative_to(folder)): tail(path) for path in sorted(folder.rglob("*.log"))
        },
        "config": cfg.model_dump(),
    }


def show(lines: list[Line], file: Path) -> int:
    """Print the lines; returns the exit status."""
    print()
    for line in lines:
        print(line)
    failed = sum(line.passed is False for line in lines)
    advice = f"{failed} failed; send {file} to the maintainers" if failed else "nothing failed"
    print(f"\n{advice}; every number and the logs are in {file.resolve()}")
    return int(failed > 0)


def told(path: Path) -> dict[str, Any]:
    """What a rank left."""
    return json.loads(path.read_text())


def tail(path: Path) -> list[str]:
    """The last lines of a log."""
    return path.read_text(errors="replace").splitlines()[-LOG_LINES:] if path.exists() else []


def _rank(path: Path) -> int:
    return int(path.stem.partition("_")[2])
