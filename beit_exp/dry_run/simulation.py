"""The environment in which MindSpore simulates a card, and the process that runs a worker in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import save_config
from beit_exp.config.schema import Config, HardwareConfig
from beit_exp.dry_run.compile_log import LEVELS, CompileLog, read_log
from beit_exp.dry_run.graphs import BUILT, Graph, read_graphs
from beit_exp.dry_run.stubs import SOC, build_stubs, stub_environment
from beit_exp.errors import UserError
from beit_exp.hardware.cluster import RANK, world_size
from beit_exp.hardware.nodes import find_place
from beit_exp.hardware.process import worker_environment
from beit_exp.launch.run_directory import last_error

CANN = Path("/usr/local/Ascend")  # where its installer puts it
LIBRARY = "libascendcl.so"
# A card, what CANN calls it, and what MindSpore calls its kind, which it leaves empty in simulation
CARDS = {"910A": ("Ascend910A", "ascend910"), "910B": ("Ascend910B1", "ascend910b")}
CARD_KIND = "BEIT_EXP_SIMULATED_KIND"
FACTS = "dry_run.json"  # what the worker leaves of what only it knows
NO_FACTS: dict[str, Any] = {"planned_bytes": None, "computed_bytes": None, "gathered_bytes": []}
LOG, OUTPUT, DUMPS = "mindspore.log", "output.log", "graphs"
COMPILING = re.compile(r"(Start|End) compiling '(.+?)'")
EXCEPTION = re.compile(r"^\w*(?:Error|Exception)\b.*", re.MULTILINE)


@dataclass(frozen=True)
class Simulated:
    """What a worker on the simulated card did."""

    log: CompileLog
    graphs: list[Graph]
    facts: dict[str, Any]
    seconds: float
    failure: str | None = None  # why it did not come to its end


def find_cann() -> Path | None:
    """The folder of CANN's libraries in this environment; `UserError` if CANN is installed, but the
    environment lacks it.
    """
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    found = next((Path(name) for name in folders if Path(name, LIBRARY).exists()), None)
    if found is None and CANN.exists():
        raise UserError(
            f"CANN is installed in {CANN}, but this shell does not know it: source its set_env.sh, "
            "and the dry run simulates with it"
        )
    return found


def simulation_environment(cann: Path | None, *, card: str) -> dict[str, str]:
    """What a worker finds: MindSpore's simulation, with CANN or with stubs, which are made first if
    they are missing.
    """
    soc, kind = CARDS[card]
    environment = {**worker_environment(), SOC: soc, CARD_KIND: kind}
    if cann is None:
        environment |= stub_environment(build_stubs(), environment)
    return {**environment, **LEVELS, "MS_SIMULATION_LEVEL": "1", "MS_JIT_DISPLAY_PROGRESS": "1"}


def rank_environment(cfg: HardwareConfig) -> dict[str, str]:
    """Makes the worker one rank of so many as the settings ask for, with collectives that answer by
    themselves: the rank of this process's place among several, else 0.
    """
    ranks, place = world_size(cfg), find_place(os.environ)
    if ranks == 1:
        return {}
    rank = 0 if place is None else place.node * cfg.device_num + place.card
    card = 0 if place is None else place.card
    return {RANK: str(rank), "RANK_ID": str(rank), "RANK_SIZE": str(ranks), "DEVICE_ID": str(card)}


def simulate(cfg: Config, run_dir: Path, environment: Mapping[str, str]) -> Simulated:
    """Run a worker on these settings in a directory of its own, to its end."""
    save_config(cfg, run_dir / "config.yaml")
    dumps = {
        "MS_DEV_SAVE_GRAPHS": "1",
        "MS_DEV_SAVE_GRAPHS_PATH": str(run_dir / DUMPS),
        "MS_DEV_DUMP_IR_PASSES": BUILT,
    }
    started = time.monotonic()
    status = _run(run_dir, {**environment, **rank_environment(cfg.hardware), **dumps})
    seconds = time.monotonic() - started
    with (run_dir / LOG).open(errors="replace") as lines:
        log = read_log(lines)
    path = run_dir / FACTS
    facts = json.loads(path.read_text()) if path.exists() else NO_FACTS
    failure = None if status == 0 and path.exists() else _reason(run_dir, log, status)
    return Simulated(log, read_graphs(run_dir / DUMPS, dump=BUILT), facts, seconds, failure)


def _run(run_dir: Path, environment: Mapping[str, str]) -> int:
    """The exit status; meanwhile says what is being compiled, and keeps all that is said."""
    command = [sys.executable, "-m", "beit_exp.dry_run.child", str(run_dir)]
    with (
        (run_dir / LOG).open("wb") as log,
        (run_dir / OUTPUT).open("w") as output,
        subprocess.Popen(
            command, cwd=run_dir, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.write(line)
                if (found := COMPILING.search(line)) and found[1] == "Start":
                    print(f"compiling {found[2]}", flush=True)
            return process.wait()
        finally:
            process.kill()


def _reason(run_dir: Path, log: CompileLog, status: int) -> str:
    """Why a worker failed: what Python raised, and the first error that MindSpore logged."""
    how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
    raised = EXCEPTION.findall((run_dir / OUTPUT).read_text(errors="replace"))
    told = [raised[-1] if raised else last_error(run_dir), log.error]
    return "\n  ".join([f"the worker in {run_dir} {how}", *filter(None, told)])
