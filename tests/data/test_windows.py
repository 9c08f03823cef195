"""Epochs in windows: the order is a draw as ever, and tars are read from front to back."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from sharded import config as sharded_config
from sharded import pack, with_label_files, write_tar

from beit_exp.config.schema import Config
from beit_exp.data import archives
from beit_exp.data.build import Shard, TrainStream, eval_batches, train_batches
from beit_exp.data.listing import list_classes
from beit_exp.data.read_ahead import ReadAhead
from beit_exp.data.reading_order import LARGE_READ_BYTES, Part, Places, find_places, windowed_order
from beit_exp.errors import UserError

SHARDS, WINDOW = 5, 32


def config(folder: Path, *overrides: str) -> Config:
    return sharded_config(folder, "train.batch_size=16", *overrides)


@pytest.fixture(scope="module")
def sharded(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The few digits: of train in five shards, of val in two."""
    folder = tmp_path_factory.mktemp("sharded")
    pack(few_digits / "train", f"{folder}/train/{{}}.tar", shards=SHARDS, members=with_label_files)
    pack(few_digits / "val", f"{folder}/val/{{}}.tar", shards=2, members=with_label_files)
    return folder


def stream_of(folder: Path, *overrides: str, shard: Shard | None = None) -> TrainStream:
    cfg = config(folder, f"dataset.shuffle_window={WINDOW}", *overrides)
    return TrainStream(list_classes(folder / "train"), cfg, shard or Shard(0, 1))


def batches_of(
    folder: Path, *overrides: str, first: int = 0, last: int = 10, shard: Shard | None = None
):
    cfg = config(folder, f"dataset.shuffle_window={WINDOW}", *overrides)
    return list(
        train_batches(stream_of(folder, *overrides, shard=shard), cfg, first=first, last=last)
    )


def are_equal(some, others) -> bool:
    pairs = zip(some, others, strict=True)
    return all((a == b).all() for one, other in pairs for a, b in zip(one, other, strict=True))


def test_an_epoch_holds_every_image_once_and_a_window_those_of_few_shards(sharded: Path) -> None:
    stream = stream_of(sharded)
    shards = [Path(str(archives.archive_of(path))).stem for path in stream.images.paths]
    orders = [stream.order(epoch) for epoch in range(4)]
    assert all((np.sort(order) == np.arange(80)).all() for order in orders)
    assert len({order.tobytes() for order in orders}) == 4
    assert len({tuple(dict.fromkeys(shards[n] for n in order)) for order in orders}) > 1
    for order in orders:
        for begin in range(0, 80, WINDOW):  # a shard holds 16 images
            assert len({shards[number] for number in order[begin : begin + WINDOW]}) <= 2
    other = stream_of(sharded, "seed=1")
    assert (other.order(0) != orders[0]).any()
    assert (stream_of(sharded).order(3) == orders[3]).all()  # whatever was asked before


def test_without_a_window_the_order_is_that_of_any_folder(sharded: Path, few_digits: Path) -> None:
    orders = [
        TrainStream(list_classes(folder / "train"), config(folder), Shard(0, 1)).order(2)
        for folder in (sharded, few_digits)
    ]
    assert (orders[0] == orders[1]).all()


@pytest.mark.parametrize("first", [1, 3, 5, 7])
def test_a_run_goes_on_in_the_middle_of_a_window(sharded: Path, first: int) -> None:
    whole = batches_of(sharded, "augment=finetune_mixup")
    assert are_equal(whole[first:], batches_of(sharded, "augment=finetune_mixup", first=first))


@pytest.mark.parametrize("words", [(), ("train.accumulate_steps=2",)])
def test_devices_see_the_order_of_one(words: tuple[str, ...], sharded: Path) -> None:
    whole = batches_of(sharded, "augment=light", *words)
    parts = [
        batches_of(sharded, "augment=light", "train.batch_size=8", *words, shard=Shard(rank, 2))
        for rank in (0, 1)
    ]
    for batch, *halves in zip(whole, *parts, strict=True):
        assert (batch[0] == np.concatenate([images for images, _ in halves])).all()
    shown = np.concatenate([images for images, _ in whole[:4]])
    assert len({image.tobytes() for image in shown}) == 64


@pytest.mark.parametrize("size", [1, 3])
def test_evaluation_reads_every_image_of_shards_once(sharded: Path, size: int) -> None:
    images = list_classes(sharded / "val")
    cfg = config(sharded)
    found = [
        labels for rank in range(size) for _, labels in eval_batches(images, cfg, Shard(rank, size))
    ]
    in_turn = [images.labels[rank::size] for rank in range(size)]
    assert np.concatenate(found).tolist() == np.concatenate(in_turn).tolist()


def test_windows_of_single_files_or_of_one_tar_are_refused(
    sharded: Path, few_digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="window = 32: must be null, .* lie in files of their own"):
        stream_of(few_digits)
    pack(few_digits / "train", f"{tmp_path}/train/{{}}.tar", shards=1)
    with pytest.raises(UserError, match="window = 32: must be null, .* lie in a single tar"):
        stream_of(tmp_path)


def test_windows_of_few_classes_are_told(
    sharded: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stream_of(sharded)
        assert caplog.text == ""
        for cls in range(10):  # as a sorted folder is packed
            picture = [(f"{cls}/{number}.png", b"") for number in range(20)]
            write_tar(tmp_path / "train" / f"{cls}.tar", picture)
        stream_of(tmp_path)
    assert "are of 2 classes in the mean; drawn at random, of 10. Batches of few" in caplog.text


def test_a_bad_image_in_a_shard_is_named_or_replaced(sharded: Path, tmp_path: Path) -> None:
    for path in sorted((sharded / "train").glob("*.tar")):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / path.name).write_bytes(path.read_bytes())
    write_tar(tmp_path / "train" / "9.tar", [("bad.cls", b"3"), ("bad.png", b"no image")])
    words = ("augment=none", "train.batch_size=27")
    with pytest.raises(UserError, match=r"9.tar/bad.png cannot be read as an image"):
        batches_of(tmp_path, *words, last=3)
    batches_of(tmp_path, *words, "dataset.bad_images=replace", last=3)


def test_each_window_is_read_once_from_front_to_back(sharded: Path, monkeypatch) -> None:
    read: list[Part] = []
    monkeypatch.setattr(archives, "read_ahead", lambda *part: read.append(Part(*part)))
    stream = stream_of(sharded)
    for number in range(5):
        stream.read_ahead(number)
    places = find_places(stream.images.paths)
    assert places is not None
    order = stream.order(0)
    windows = [order[begin : begin + WINDOW] for begin in range(0, 80, WINDOW)]
    wanted = [part for window in windows for part in places.parts(window)]
    assert read[: len(wanted)] == wanted
    following = places.parts(stream.order(1)[:WINDOW])  # of the next epoch, behind the last window
    assert read[len(wanted) :] == following
    for number in range(3):  # what was read is not read again
        stream.read_ahead(number)
    assert len(read) == len(wanted) + len(following)


def test_a_part_is_large_and_leaves_wide_gaps_out() -> None:
    size = 100_000
    begin = np.arange(300) * (size + 512)
    places = Places(["a", "b"], np.repeat([0, 1], 150), begin, begin + size)
    parts = places.parts(np.random.default_rng(0).permutation(300))
    assert sum(part.size for part in parts) == 2 * (150 * (size + 512) - 512)
    assert len(parts) == 4 and max(part.size for part in parts) == LARGE_READ_BYTES
    few = places.parts(np.array([140, 0, 1]))
    assert few == [Part("a", 0, 2 * size + 512), Part("a", 140 * (size + 512), size)]
    assert places.parts(np.arange(0)) == []


def test_windows_are_read_in_step_with_their_use(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(["a"], np.zeros(40, np.int64), *(np.arange(40) * 10**7 + n for n in (0, 9)))
    read: list[int] = []
    monkeypatch.setattr(
        archives, "read_ahead", lambda _, offset, size: read.append(offset // 10**7)
    )
    ahead = ReadAhead(places, lambda window: np.arange(40)[window * 10 : window * 10 + 10])
    ahead.reach(0, 0, share=0.3)
    assert read == list(range(13))
    ahead.reach(0, 0, share=0.2)  # of a batch that was made late
    ahead.reach(0, 1, share=0.5)
    assert read == list(range(25))
    ahead.reach(3, 3, share=0)  # a jump: what lies between is not read
    assert read == [*range(25), *range(30, 40)]


def test_an_order_holds_each_image_once_for_any_window() -> None:
    rng = np.random.default_rng(0)
    archive = np.sort(rng.integers(0, 7, 100))
    places = Places(list("abcdefg"), archive, np.arange(100), np.arange(100) + 1)
    for window in (1, 3, 100, 1000):
        assert np.sort(windowed_order(places, window, rng)).tolist() == list(range(100))
    order = windowed_order(places, 1, rng)
    assert (np.diff(order)[np.diff(archive[order]) == 0] == 1).all()  # no window: as they lie


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's count of a process's bytes")
def test_reading_ahead_reads_all_of_a_part_and_tells_no_error(sharded: Path) -> None:
    def bytes_read() -> int:
        lines = Path("/proc/thread-self/io").read_text().splitlines()
        return int(lines[0].removeprefix("rchar: "))

    path = next((sharded / "train").glob("*.tar"))
    before = bytes_read()
    archives.read_ahead(str(path), 0, os.path.getsize(path))
    assert bytes_read() - before >= os.path.getsize(path)
    archives.read_ahead(str(path), 10**9, 10)  # behind its end: nothing to read
    archives.read_ahead(str(path) + ".gone", 0, 10)  # told of the image that is not there
