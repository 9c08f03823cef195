"""Copies of checkpoints in an object store."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beit_exp.storage.remote import open_store

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 120.0  # a checkpoint of 4 GB at 33 MB/s


@contextmanager
def mirroring(url: str | None, *, way_out: str) -> Iterator[Mirror]:
    """Copies of checkpoints at `url`, made in the background.

    At the end of the block, what is under way is waited for, a bounded time; `way_out` is the
    command that copies what is missing then.
    """
    mirror = Mirror(url, way_out=way_out)
    try:
        yield mirror
    finally:
        mirror.close()


class Mirror:
    """Uploads files in a thread.

    A store that fails costs a warning: the files are on disk in any case.
    """

    def __init__(self, url: str | None, *, way_out: str) -> None:
        self.url = url
        self.way_out = way_out
        self.paths: queue.Queue[Path | None] = queue.Queue()
        self.left: list[Path] = []  # being copied, or waiting
        self.thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        if url:
            self.thread.start()

    def put(self, path: Path) -> None:
        """Have a file copied."""
        if self.url:
            self.left.append(path)
            self.paths.put(path)

    def close(self) -> None:
        """Wait for what is under way, but not for ever: a store may hang."""
        if not self.url:
            return
        self.paths.put(None)
        self.thread.join(CLOSE_TIMEOUT_S)
        if self.thread.is_alive():
            names = ", ".join(path.name for path in list(self.left) if path.exists())
            logger.warning(
                "%s did not take %s within %g s; kept on disk, to copy it later: %s",
                self.url,
                names,
                CLOSE_TIMEOUT_S,
                self.way_out,
            )

    def _run(self) -> None:
        while (path := self.paths.get()) is not None:
            try:
                if path.exists():  # else it has been removed while the store was slow
                    copy_files([path], str(self.url))
            except Exception as error:  # whatever the store raises must not reach the training
                logger.warning(
                    "%s was not copied to %s (%s); kept on disk, to copy it later: %s",
                    path,
                    self.url,
                    type(error).__name__,
                    self.way_out,
                )
            finally:
                self.left.remove(path)


def copy_files(paths: list[Path], url: str) -> None:
    """Copy files into a folder of an object store; raises whatever the store's client raises."""
    store, folder = open_store(url), url.partition("://")[2]
    for path in paths:
        store.put(str(path), f"{folder}/{path.name}")
