from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beit_exp.storage import mirror
from beit_exp.storage.mirror import mirroring


class Store:
    """An object store that does what it is told at every copy."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.copied: list[str] = []

    def put(self, path: str, key: str) -> None:
        self.work()
        self.copied.append(key)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"step_{number}.safetensors" for number in (1, 2)]
    for path in found:
        path.write_bytes(b"weights")
    return found


def test_what_was_put_is_copied_before_the_block_is_left(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(lambda: time.sleep(0.05))
    monkeypatch.setattr(mirror, "open_store", lambda _: store)
    with mirroring("s3://bucket/copies", way_out="sync run") as copies:
        for path in paths:
            copies.put(path)
    assert store.copied == [f"bucket/copies/{path.name}" for path in paths]


def test_a_store_that_hangs_is_left_after_a_bounded_time_and_the_way_out_is_told(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    monkeypatch.setattr(mirror, "open_store", lambda _: Store(release.wait))
    monkeypatch.setattr(mirror, "CLOSE_TIMEOUT_S", 0.2)
    begin = time.monotonic()
    with mirroring("s3://bucket/copies", way_out="sync run") as copies:
        for path in paths:
            copies.put(path)
    assert time.monotonic() - begin < 5
    assert caplog.messages == [
        "s3://bucket/copies did not take step_1.safetensors, step_2.safetensors within 0.2 s; "
        "kept on disk, to copy it later: sync run"
    ]
    release.set()
    copies.thread.join()
    assert copies.left == []


def test_a_store_that_fails_costs_a_line_for_each_file(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ConnectionError

    monkeypatch.setattr(mirror, "open_store", lambda _: Store(fail))
    with mirroring("s3://bucket/copies", way_out="sync run") as copies:
        for path in paths:
            copies.put(path)
    assert caplog.messages == [
        f"{path} was not copied to s3://bucket/copies (ConnectionError); kept on disk, "
        "to copy it later: sync run"
        for path in paths
    ]
