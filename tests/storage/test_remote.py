from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beit_exp.errors import UserError
from beit_exp.storage import remote
from beit_exp.storage.remote import cache_folder, kept_copy, local_copy

READER = """
import sys
from pathlib import Path
from beit_exp.storage.remote import local_copy
copy = Path(local_copy(sys.argv[1]))
print(copy.read_text(), flush=True)
sys.stdin.readline()
print(copy.read_text(), flush=True)
"""


@pytest.fixture
def bucket(s3) -> Iterator[object]:
    """boto3's client of an empty bucket; every test begins as a process does, with no copy."""
    kept_copy.cache_clear()
    yield s3[1]
    kept_copy.cache_clear()


def put(bucket, key: str, text: str) -> None:
    bucket.put_object(Bucket="bucket", Key=key, Body=text.encode())


def read_anew(place: str) -> str:
    """What a process that starts now reads."""
    kept_copy.cache_clear()
    return Path(local_copy(place)).read_text()


def versions() -> list[Path]:
    """The copies in the cache."""
    return [path for path in cache_folder().glob("*/*") if path.is_dir()]


@pytest.mark.slow
def test_a_key_with_new_content_is_copied_anew_and_the_old_copy_removed(bucket) -> None:
    put(bucket, "newest.safetensors", "step 5")
    put(bucket, "newest.safetensors.md5", "a neighbour")
    assert read_anew("s3://bucket/newest.safetensors") == "step 5"
    put(bucket, "newest.safetensors", "step 7")  # of the same size
    assert read_anew("s3://bucket/newest.safetensors") == "step 7"
    put(bucket, "newest.safetensors", "step 10")
    assert read_anew("s3://bucket/newest.safetensors") == "step 10"
    (version,) = versions()
    assert sorted(path.name for path in version.iterdir()) == [".lock", "newest.safetensors"]


@pytest.mark.slow
def test_a_folder_whose_files_changed_came_or_went_is_copied_anew(bucket) -> None:
    def names() -> dict[str, str]:
        kept_copy.cache_clear()
        root = Path(local_copy("obs://bucket/data/"))
        files = [path for path in root.rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): path.read_text() for path in files}

    put(bucket, "data/train/1/a.png", "a")
    put(bucket, "data/val/1/b.png", "b")
    assert names() == {"train/1/a.png": "a", "val/1/b.png": "b"}
    put(bucket, "data/val/1/c.png", "c")
    bucket.delete_object(Bucket="bucket", Key="data/val/1/b.png")
    assert names() == {"train/1/a.png": "a", "val/1/c.png": "c"}


def test_what_has_not_changed_is_not_copied_again(bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, "weights", "here")
    first = local_copy("s3://bucket/weights")
    changed_ns = os.stat(first).st_mtime_ns
    assert read_anew("s3://bucket/weights") == "here"
    assert local_copy("s3://bucket/weights") == first
    assert os.stat(first).st_mtime_ns == changed_ns


@pytest.mark.slow
def test_another_process_goes_on_reading_what_it_was_given(bucket) -> None:
    put(bucket, "weights", "old")
    place = "s3://bucket/weights"
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None and reader.stdout.readline() == "old\n"
    put(bucket, "weights", "new")
    assert read_anew(place) == "new"
    assert len(versions()) == 2
    assert reader.communicate("\n", timeout=30)[0] == "old\n"
    assert read_anew(place) == "new"
    assert len(versions()) == 1


def test_a_process_that_waited_takes_the_answer_that_came_meanwhile(
    bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "weights", "here")
    fetched = Path(local_copy("s3://bucket/weights"))
    monkeypatch.setattr(remote, "open_store", lambda _: pytest.fail("the store was asked again"))
    monkeypatch.setattr(time, "time_ns", lambda: 0)  # it asked before
    kept_copy.cache_clear()
    assert Path(local_copy("s3://bucket/weights")) == fetched


@pytest.mark.slow
def test_a_copy_of_which_the_store_changed_meanwhile_is_not_used(
    bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store, changes = remote.open_store, iter(["b", "c"])

    class Changing:
        def __init__(self) -> None:
            self.find = open_store("s3://bucket").find

        def get(self, *words: str, recursive: bool) -> None:
            open_store("s3://bucket").get(*words, recursive=recursive)
            put(bucket, "weights", next(changes, "c"))

    put(bucket, "weights", "a")
    monkeypatch.setattr(remote, "open_store", lambda _: Changing())
    assert Path(local_copy("s3://bucket/weights")).read_text() == "c"
    assert len(versions()) == 1


@pytest.mark.slow
def test_a_store_that_is_silent_is_given_up_and_the_last_copy_named(
    bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "weights", "here")
    copy = local_copy("s3://bucket/weights")
    kept_copy.cache_clear()
    monkeypatch.setattr(remote, "READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        with pytest.raises(UserError) as caught:
            local_copy("s3://bucket/weights")
    assert time.monotonic() - begin < 20
    assert "s3://bucket/weights: the object store does not answer (" in str(caught.value)
    assert str(caught.value).endswith(f"; the last copy is {copy}")
    assert Path(copy).read_text() == "here"
