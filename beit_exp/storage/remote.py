"""Object storage: `s3://` and `obs://` data, weights and checkpoint copies, through fsspec.

What is read is copied once per node, by the first process that asks, while the others wait; and
again once the store holds something else.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from beit_exp.errors import MissingExtraError, UserError
from beit_exp.storage.files import write_atomically

logger = logging.getLogger(__name__)

SCHEMES = ("s3", "obs")
CACHE = "BEIT_EXP_CACHE"
CHECKED = "checked"  # beside the versions of a copy: when the store was asked last, and its answer
LOCK = ".lock"  # in a version: shared by the processes that read it
PARTIAL = ".partial"
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 30
ATTEMPTS = 2  # of the client below and as many of s3fs around it: a silent store costs two minutes
COPY_TRIES = 3


def is_remote(place: str) -> bool:
    """Whether a setting names an object store instead of a path."""
    return place.partition("://")[0] in SCHEMES and "://" in place


def cache_folder() -> Path:
    """Where this machine keeps what can be had again: `BEIT_EXP_CACHE`, else ~/.cache/beit_exp."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "beit_exp")


class KeptCopy(NamedTuple):
    """A copy that stays as it is while the lock is open."""

    path: Path
    lock: IO[str]


def local_copy(place: str) -> str:
    """The path of a setting's folder or file on this machine.

    A remote one is copied into the cache first, if the store holds something else than the cache
    does. A process is given the same copy whenever it asks. `UserError` if the store does not give
    it.
    """
    return str(kept_copy(place).path) if is_remote(place) else place


@cache
def kept_copy(place: str) -> KeptCopy:
    """The newest copy of a remote place, kept until this process ends.

    Each content is a folder of its own, so what others still read stays; what nobody reads any
    more is removed.
    """
    asked_ns = time.time_ns()
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    folder = cache_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{name}.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        checked_ns, version = _last_check(folder)
        # Else another process has asked the store while this one waited
        if version is None or checked_ns < asked_ns:
            checked_ns = time.time_ns()
            version = _update(place, folder)
            write_atomically(folder / CHECKED, f"{checked_ns} {version.name}".encode())
        lock = (version / LOCK).open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
        _remove_unread(folder, but=version)
    return KeptCopy(version / _leaf(place), lock)


def open_store(place: str) -> Any:
    """The fsspec file system of a place; `MissingExtraError` without the package it needs.

    OBS speaks S3's protocol at the endpoint that AWS_ENDPOINT_URL names.
    """
    try:
        import s3fs
    except ImportError as error:
        raise MissingExtraError(f"{place}: object storage", "s3") from error
    store = s3fs.S3FileSystem(
        config_kwargs={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"total_max_attempts": ATTEMPTS},
        },
        skip_instance_cache=True,
    )
    store.retries = ATTEMPTS
    return store


def _leaf(place: str) -> str:
    return Path(place.rstrip("/")).name


def _last_check(folder: Path) -> tuple[int, Path | None]:
    """When the store was asked last, and the version that it held, if that is still here."""
    if not (folder / CHECKED).exists():
        return 0, None
    checked_ns, _, version = (folder / CHECKED).read_text().partition(" ")
    return int(checked_ns), folder / version if (folder / version).is_dir() else None


def _update(place: str, folder: Path) -> Path:
    """The version that the store holds now, copied if it is not here."""
    partial = folder / PARTIAL
    for _ in range(COPY_TRIES):
        held = _fingerprint(place, folder)
        if (folder / held).is_dir():
            return folder / held
        logger.info("copying %s to %s", place, folder / held)
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        partial.mkdir()
        store, target = open_store(place), partial / _leaf(place)
        try:
            store.get(place.partition("://")[2], str(target), recursive=True)
        except Exception as error:  # boto, aiohttp and the operating system each raise their own
            raise UserError(f"{place} cannot be copied: {type(error).__name__}: {error}") from error
        if _fingerprint(place, folder) == held:  # else parts of it may be of two contents
            return partial.rename(folder / held)
    raise UserError(f"{place} changes while it is copied: try again when nobody writes to it")


def _fingerprint(place: str, folder: Path) -> str:
    """A name for what the store holds at a place: of the keys, ETags and sizes there."""
    store = open_store(place)
    try:
        found = store.find(place.partition("://")[2], detail=True)
    except Exception as error:  # as above
        _, version = _last_check(folder)
        way_out = f"; the last copy is {version / _leaf(place)}" if version else ""
        raise UserError(
            f"{place}: the object store does not answer ({type(error).__name__}: {error}){way_out}"
        ) from error
    if not found:
        raise UserError(f"{place}: the object store has nothing there")
    lines = [f"{key}\t{entry.get('ETag')}\t{entry['size']}" for key, entry in found.items()]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def _remove_unread(folder: Path, *, but: Path) -> None:
    """Remove the versions that no process reads, but one."""
    for version in folder.iterdir():
        if version == but or not version.is_dir():
            continue
        with (version / LOCK).open("a") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(version)
