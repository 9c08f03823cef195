"""Object storage: `s3://` and `obs://` data, weights and checkpoint copies, through fsspec.

What is read is copied once per node, by the first process that asks, while the others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beit_exp.errors import MissingExtraError, UserError

logger = logging.getLogger(__name__)

SCHEMES = ("s3", "obs")
CACHE = "BEIT_EXP_CACHE"
COMPLETE = ".complete"


def is_remote(place: str) -> bool:
    """Whether a setting names an object store instead of a path."""
    return place.partition("://")[0] in SCHEMES and "://" in place


def cache_folder() -> Path:
    """Where this machine keeps what can be had again: `BEIT_EXP_CACHE`, else ~/.cache/beit_exp."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "beit_exp")


def local_copy(place: str) -> str:
    """The path of a setting's folder or file on this machine.

    A remote one is copied into the cache first, and counts only once it is complete. `UserError`
    if the store does not give it.
    """
    if not is_remote(place):
        return place
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    name = f"{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    target = cache / name / Path(place.rstrip("/")).name
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target.parent / COMPLETE).exists():
            _download(place, target)
            (target.parent / COMPLETE).touch()
    return str(target)


def open_store(place: str) -> Any:
    """The fsspec file system of a place; `MissingExtraError` without the package it needs.

    OBS speaks S3's protocol at the endpoint that AWS_ENDPOINT_URL names.
    """
    try:
        import s3fs
    except ImportError as error:
        raise MissingExtraError(f"{place}: object storage", "s3") from error
    return s3fs.S3FileSystem(
        config_kwargs={"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3}},
        skip_instance_cache=True,
    )


def _download(place: str, target: Path) -> None:
    logger.info("copying %s to %s", place, target)
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir(parents=True)
    store, key = open_store(place), place.partition("://")[2]
    try:
        if not store.exists(key):
            raise UserError(f"{place}: the object store has nothing there")
        store.get(key, str(target), recursive=True)
    except UserError:
        raise
    except Exception as error:  # boto, aiohttp and the operating system each raise their own
        raise UserError(f"{place} cannot be copied: {type(error).__name__}: {error}") from error


@contextmanager
def mirroring(url: str | None) -> Iterator[Mirror]:
    """Copies of checkpoints at `url`, made in the background.

    At the end of the block, what is under way is waited for.
    """
    mirror = Mirror(url)
    try:
        yield mirror
    finally:
        mirror.close()


class Mirror:
    """Uploads files in a thread.

    A store that fails costs a warning: the files are on disk in any case.
    """

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.paths: queue.Queue[Path | None] = queue.Queue()
        self.thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        if url:
            self.thread.start()

    def put(self, path: Path) -> None:
        """Have a file copied."""
        if self.url:
            self.paths.put(path)

    def close(self) -> None:
        """Wait for what is under way."""
        if self.url:
            self.paths.put(None)
            self.thread.join()

    def _run(self) -> None:
        while (path := self.paths.get()) is not None:
            if not path.exists():  # an older one that has been removed while the store was slow
                continue
            target = f"{self.url}/{path.name}"
            try:
                open_store(target).put(str(path), target.partition("://")[2])
            except Exception as error:  # whatever the store raises must not reach the training
                logger.warning(
                    "%s was not copied to %s (%s); it is kept on disk",
                    path,
                    target,
                    type(error).__name__,
                )
