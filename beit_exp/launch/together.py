"""A job that several nodes do together: the same settings and code on each, one run directory."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import flatten, save_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.cluster import MEETING, free_port
from beit_exp.hardware.meeting import Alone, Meeting, Member, meet
from beit_exp.hardware.nodes import check_place, find_place
from beit_exp.launch.tokenizer_first import trains_tokenizer_first
from beit_exp.storage.files import writing

PACKAGE = Path(__file__).resolve().parents[1]
# May differ between nodes; the first alone has a store, which may lie beside its own runs. Where
# all share a directory, its settings hold for the workers of all
OWN = ("hardware.num_parallel_workers", "hardware.cluster_timeout_s", "tracking.uri")
SEEN_S = 5.0  # for a new file to be seen on another node, over a network file system
SHOWN = 5


@contextmanager
def meeting_others(cfg: Config) -> Iterator[Meeting]:
    """The processes that were started by the same command, once all are there and agree; where
    there is one alone, that.

    `UserError` where one is missing, or was given other settings or other code.
    """
    place = find_place(os.environ)
    check_place(place, node_num=cfg.hardware.node_num, device_num=cfg.hardware.device_num)
    if place is not None and trains_tokenizer_first(cfg):
        raise UserError(
            "tokenizer.weights = null: must be given where several processes are started by one "
            "command: train the tokenizer first, by task=train_tokenizer"
        )
    meeting = meet(place, timeout_s=cfg.hardware.cluster_timeout_s)
    try:
        if not isinstance(meeting, Alone):
            told = meeting.gather({**own_settings(cfg), **versions()})
            meeting.first_does(lambda: check_agreement(meeting, told))
        yield meeting
    finally:
        meeting.close()


def own_settings(cfg: Config) -> dict[str, Any]:
    """The settings that must be the same on every node."""
    return {key: value for key, value in flatten(cfg).items() if key not in OWN}


def versions() -> dict[str, Any]:
    """What else must be the same: the libraries that compute, this package's Python to the byte,
    and whether its kernels are compiled.
    """
    found: dict[str, Any] = {name: metadata.version(name) for name in ("mindspore", "numpy")}
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    kernels = any(PACKAGE.rglob(f"_native{EXTENSION_SUFFIXES[0]}"))
    return {
        **found,
        "the code of beit_exp": digest.hexdigest()[:12],
        "compiled kernels": "there" if kernels else "missing",
    }


def check_agreement(meeting: Member, told: dict[int, dict[str, Any]]) -> None:
    """Raise `UserError` where another process brings other settings, or other versions."""
    lines = [
        f"  {key}: {told[0].get(key)!r} on {meeting.place.name_of(0)}, {values.get(key)!r} on "
        f"{meeting.place.name_of(number)}"
        for number, values in told.items()
        for key in told[0].keys() | values.keys()
        if told[0].get(key) != values.get(key)
    ]
    if lines:
        more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        head = "the nodes of one run must have the same settings and the same versions:"
        raise UserError("\n".join([head, *sorted(lines)[:SHOWN], *more]))


def share_directory(meeting: Meeting, cfg: Config, run_dir: Path) -> None:
    """Make every node ready to work in the run's directory, which the first has written.

    One that does not see that of the first keeps the settings and its logs in its own. `UserError`
    where there is something to go on from, that only some would see.
    """
    if isinstance(meeting, Alone):
        return
    name = meeting.first_does(lambda: leave_sign(run_dir))
    own = {
        "sees": sees(run_dir / name),
        "begun": any(run_dir.glob("checkpoints/step_*")),
        "where": f"{socket.gethostname()}:{run_dir.absolute()}",
    }
    try:
        told = meeting.gather(own)
    except UserError:
        (run_dir / name).unlink(missing_ok=True)  # nobody looks for it any more
        raise
    apart = meeting.first_does(lambda: who_is_apart(meeting, told, run_dir / name))
    if meeting.place.number in apart:
        with writing(run_dir):
            save_config(cfg, run_dir / "config.yaml")
    address = meeting.first_does(lambda: meeting.own_address)
    port = meeting.first_does(free_port)
    os.environ[MEETING] = f"{address}:{port}"
    own_address = address if meeting.place.node == 0 else meeting.own_address
    os.environ.setdefault("MS_WORKER_IP", own_address)


def leave_sign(run_dir: Path) -> str:
    """A new file in the run's directory, whose name the others cannot have looked up before."""
    name = f".meeting_{secrets.token_hex(8)}"
    with writing(run_dir):
        (run_dir / name).touch()
    return name


def sees(path: Path) -> bool:
    """Whether a file is there, or comes soon."""
    deadline = time.monotonic() + SEEN_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def who_is_apart(meeting: Member, told: dict[int, dict[str, Any]], sign: Path) -> list[int]:
    """The numbers of those that do not see the directory of the first."""
    sign.unlink(missing_ok=True)
    apart = [number for number, each in told.items() if not each["sees"]]
    if not apart:
        return []
    where = ", ".join(str(told[number]["where"]) for number in apart)
    if any(each["begun"] for each in told.values()):
        raise UserError(
            f"{where} is not the directory {told[0]['where']} of {meeting.place.name_of(0)}, and "
            "there are checkpoints: to go on from them, all nodes must see hydra.run.dir on one "
            "file system"
        )
    print(
        f"{where} is not the directory of {meeting.place.name_of(0)}: logs of these nodes stay "
        "there, and the run cannot be resumed unless all nodes see hydra.run.dir on one file "
        "system",
        flush=True,
    )
    return apart
