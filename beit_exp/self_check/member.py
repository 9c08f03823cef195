"""A process of the self-check on one device: `python -m beit_exp.self_check.member FOLDER`."""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from beit_exp import worker
from beit_exp.config.mapping import load_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware import card, cluster
from beit_exp.hardware.device import Runtime, device_name, start_device
from beit_exp.model.operations.choice import describe_kernels
from beit_exp.model.precision import build_precision
from beit_exp.self_check.golden import check_golden, load_reference, operands_of
from beit_exp.self_check.layer_norm import check_layer_norm
from beit_exp.self_check.line import Line, Outcome
from beit_exp.self_check.training import check_overflow, check_ranks, time_steps
from beit_exp.storage.files import write_atomically
from beit_exp.train.stop import until_stopped

FACTS = "facts.json"
Check = Callable[[], Outcome]


def main(folder: Path) -> int:
    """Leave this rank's lines in the folder, each as soon as it is known; returns an exit status.

    A check that raises ends the process: the other ranks may wait for it in a collective.
    """
    cfg = load_config(folder / "config.yaml")
    worker.stop_with_parent()
    if cluster.is_scheduler():
        cluster.join()
        return 0
    return until_stopped(lambda: check(cfg, folder))


def check(cfg: Config, folder: Path) -> int:
    """Check on this process's device, or start the processes that do; returns an exit status."""
    if cluster.world_size(cfg.hardware) > 1 and not cluster.is_member():
        return cluster.run(cfg.hardware, command(folder))
    try:
        runtime = start_device(cfg.hardware, seed=cfg.seed)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    if runtime.is_leader:
        write_atomically(folder / FACTS, json.dumps(facts_of(runtime)).encode())
    lines: list[Line] = []
    for name, check in checks(cfg, runtime):
        if runtime.is_leader:
            print(f"checking {name}", flush=True)
        outcome, raised = attempt(check)
        lines.append(Line(name, outcome.seen, outcome.passed))
        told = {"lines": [asdict(line) for line in lines], "raised": raised}
        path = folder / f"rank_{runtime.rank}.json"
        write_atomically(path, json.dumps(told, indent=1).encode())
        if raised is not None:
            return 1
    return 0


def attempt(check: Check) -> tuple[Outcome, str | None]:
    """What a check found, and the traceback if it raised."""
    try:
        return check(), None
    except Exception as error:
        message = next(iter(str(error).strip().splitlines()), "no message")
        return Outcome(False, f"{type(error).__name__}: {message}"), traceback.format_exc()


def command(folder: Path) -> list[str]:
    """The command line of such a process."""
    return [sys.executable, "-m", "beit_exp.self_check.member", str(folder)]


def checks(cfg: Config, runtime: Runtime) -> Iterator[tuple[str, Check]]:
    """What is checked on a device, by name; the network of `cfg` is the one that is timed."""
    reference, level = load_reference(), cfg.hardware.amp_level
    is_saturating = runtime.device_target == "Ascend" and card.is_saturating()
    yield "layer norm and its gradient", check_layer_norm
    for each in dict.fromkeys(("O0", level)):
        precision = build_precision(each, half=runtime.half)
        operands = operands_of(precision, is_saturating=is_saturating)
        yield (
            f"logits and gradients at {each}",
            partial(check_golden, reference, precision, operands=operands),
        )
    yield "an overflow", partial(check_overflow, reference, cfg, runtime, precision)
    yield "ranks", partial(check_ranks, reference, cfg, runtime, precision, operands=operands)
    yield "time of a step", partial(time_steps, cfg, runtime, precision)


def facts_of(runtime: Runtime) -> dict[str, str | int | None]:
    """What the device is, and how it computes."""
    is_card = runtime.device_target == "Ascend"
    return {
        "device": device_name(runtime),
        "processes": runtime.size,
        "kind": card.soc_version() if is_card else None,
        "is_saturating": card.is_saturating() if is_card else None,
        "half": str(runtime.half),
        "kernels": describe_kernels(),
    }


if __name__ == "__main__":
    faulthandler.enable()
    worker.leave(main(Path(sys.argv[1])))
