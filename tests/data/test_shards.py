"""Several tars that hold a split together are the folder that they were made of."""

from __future__ import annotations

import os
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sharded import Member, config, contents, in_folders, pack, with_label_files, write_tar

from beit_exp.data import archives
from beit_exp.data.listing import list_classes, list_images, list_other_files
from beit_exp.data.places import check_folders
from beit_exp.data.sources import open_split, open_splits
from beit_exp.errors import UserError

NAMES = {
    "in a folder": ("train/{}.tar", "val/{}.tar"),
    "beside each other": ("train-{}.tar", "val-{}.tar"),
    "as makeshards.py of webdataset": ("imagenet-train-{}.tar", "imagenet-val-{}.tar"),
    "as timm/imagenet-1k-wds": ("imagenet1k-train-{}.tar", "imagenet1k-validation-{}.tar"),
}
IMAGE = b"no matter what"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two shards of two images each, with label files."""
    for number in range(2):
        members = [("a.cls", b"0\n"), ("a.jpg", IMAGE), ("b.cls", b"1"), ("b.JPEG", IMAGE)]
        write_tar(tmp_path / "train" / f"{number}.tar", members)
    return tmp_path / "train"


@pytest.mark.parametrize("members", [in_folders, with_label_files])
@pytest.mark.parametrize("names", NAMES.values(), ids=list(NAMES))
def test_images_in_shards_are_those_of_the_folders(
    members: Callable[[Path], list[Member]],
    names: tuple[str, str],
    few_digits: Path,
    tmp_path: Path,
) -> None:
    for split, name in zip(("train", "val"), names, strict=True):
        pack(few_digits / split, f"{tmp_path}/{name}", shards=3, members=members)
    check_folders(config(tmp_path, classes="auto").dataset)
    packed, plain = (open_splits(config(place)).lists() for place in (tmp_path, few_digits))
    assert packed.keys() == plain.keys()
    for split, images in packed.items():
        assert images.classes == plain[split].classes
        assert contents(images) == contents(plain[split])


def test_images_are_listed_as_they_lie(few_digits: Path, tmp_path: Path) -> None:
    shards = pack(few_digits / "train", f"{tmp_path}/{{}}.tar", shards=3)
    listed = list_classes(tmp_path).paths
    assert listed == list_images(tmp_path)
    begins = [archives.index(str(archives.archive_of(path))) for path in listed]
    places = [
        (str(archives.archive_of(path)), index.place(archives.name_in(path))[0])
        for path, index in zip(listed, begins, strict=True)
    ]
    assert places == sorted(places) and {shard for shard, _ in places} == set(map(str, shards))


def test_there_may_be_more_shards_than_files_that_a_process_may_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(80):
        write_tar(tmp_path / f"{number}.tar", [("1.cls", b"0"), ("1.png", b"%d" % number)])
    archives._opener.cache_clear()  # closes those of other tests
    most, least = resource.getrlimit(resource.RLIMIT_NOFILE), len(os.listdir("/dev/fd"))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, most[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (least + 40, most[1]))
    try:
        paths = list_classes(tmp_path).paths
        read = [archives.read(path) for path in paths]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
        archives._opener.cache_clear()
    assert sorted(map(int, read)) == list(range(80))


def test_numbers_in_label_files_are_the_classes_numbers(tmp_path: Path) -> None:
    members = [
        member
        for number in range(12)
        for member in ((f"{number}.jpg", IMAGE), (f"{number}.cls", b"%d" % number))
    ]
    write_tar(tmp_path / "1.tar", members)
    images = list_classes(tmp_path)
    assert images.labels.tolist() == list(range(12))
    assert images.classes == [str(number) for number in range(12)]


def test_names_in_label_files_are_sorted(tmp_path: Path) -> None:
    members = [("1.jpg", IMAGE), ("1.cls", b"dog"), ("2.jpg", IMAGE), ("2.cls", "猫\n".encode())]
    write_tar(tmp_path / "1.tar", [*members, ("3.jpg", IMAGE), ("3.cls", b"cat")])
    images = list_classes(tmp_path)
    assert images.classes == ["cat", "dog", "猫"] and images.labels.tolist() == [1, 2, 0]


def test_other_fields_of_a_sample_are_left_alone(tmp_path: Path) -> None:
    sample = [("a.cls", b"x"), ("a.jpg", IMAGE), ("a.mask.png", IMAGE), ("a.json", b"{}")]
    write_tar(tmp_path / "1.tar", [*sample, ("my.b.cls", b"x"), ("my.b.jpg", IMAGE), ("c", b"")])
    assert [Path(path).name for path in list_classes(tmp_path).paths] == ["a.jpg", "my.b.jpg"]
    assert list_other_files(tmp_path) == [f"{tmp_path}/1.tar/c"]


WRONG: dict[str, tuple[list[Member], str]] = {
    "an image without a label": (
        [("c.jpg", IMAGE)],
        r"2.tar/c.jpg is an image without a label: there is no c.cls beside it",
    ),
    "a label without an image": (
        [("c.cls", b"0"), ("d.cls", b"0")],
        r"2.tar/c.cls is a label without an image \(2 such labels\)",
    ),
    "two images of one label": (
        [("c.cls", b"0"), ("c.jpg", IMAGE), ("c.png", IMAGE)],
        r"2.tar: c.jpg and c.png are images of one label",
    ),
    "the same name twice": ([("c.jpg", IMAGE), ("./c.jpg", IMAGE)], "c.jpg is there twice"),
    "a member that leads out": ([("../c.jpg", IMAGE)], "leads out of the tar"),
    "an unknown class": (
        [("c.cls", b"7"), ("c.jpg", IMAGE)],
        "must run from 0 on without a gap: there is 7, but no 2",
    ),
    "no label known": (
        [("c.cls", b"-1"), ("c.jpg", IMAGE)],
        "must run from 0 on without a gap: there is -1, but no 2",
    ),
    "a name among numbers": (
        [("c.cls", b"cat"), ("c.jpg", IMAGE)],
        r"some .cls files name classes by numbers \(0\), others by names \(cat\)",
    ),
    "an empty label": ([("c.cls", b" \n"), ("c.jpg", IMAGE)], "c.cls is refused: it must hold"),
    "two labels": ([("c.cls", b"0\n1"), ("c.jpg", IMAGE)], "c.cls is refused: it must hold the"),
    "bytes for a label": ([("c.cls", b"\xff"), ("c.jpg", IMAGE)], "c.cls is refused: .*decode"),
    "a long label": ([("c.cls", b"0" * 9999), ("c.jpg", IMAGE)], "has at most 1000 bytes"),
}


@pytest.mark.parametrize(("members", "said"), WRONG.values(), ids=list(WRONG))
def test_shards_that_cannot_be_right_are_refused(
    members: list[Member], said: str, small: Path
) -> None:
    assert len(list_classes(small)) == 4
    write_tar(small / "2.tar", members)
    with pytest.raises(UserError, match=said):
        list_classes(small)


def test_a_shard_cut_short_is_refused(small: Path) -> None:
    whole = (small / "1.tar").read_bytes()
    (small / "2.tar").write_bytes(whole[: 4 * 1024])
    with pytest.raises(UserError, match=r"2.tar is refused: it is cut short"):
        list_classes(small)


def test_class_folders_in_shards_hold_every_image_once(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", [("cat/1.jpg", IMAGE), ("dog/1.jpg", IMAGE)])
    write_tar(tmp_path / "2.tar", [("cat/1.jpg", IMAGE)])
    with pytest.raises(UserError, match=r"cat/1.jpg is there twice: in .*1.tar and in .*2.tar"):
        list_classes(tmp_path)
    (tmp_path / "2.tar").unlink()
    write_tar(tmp_path / "3.tar", [("n01440764_1.JPEG", IMAGE)])
    with pytest.raises(UserError, match=r"3.tar/n01440764_1.JPEG is an image without a label: it"):
        list_classes(tmp_path)
    write_tar(tmp_path / "3.tar", [("elk/readme.txt", b"")])
    archives.index.cache_clear()
    (tmp_path / "3.tar").rename(tmp_path / "4.tar")
    with pytest.raises(UserError, match="hold no image of elk"):
        list_classes(tmp_path)


def test_classes_of_train_and_val_must_be_told_alike(few_digits: Path, tmp_path: Path) -> None:
    pack(few_digits / "train", f"{tmp_path}/train-{{}}.tar", shards=2, members=with_label_files)
    for number in range(11):
        write_tar(
            tmp_path / "val" / f"{number}.tar", [(f"{n}/{n}_{number}.png", b"") for n in range(9)]
        )
    with pytest.raises(UserError, match=r"num_classes = 10: .*/val holds 9 classes"):
        open_splits(config(tmp_path))
    write_tar(tmp_path / "val" / "11.tar", [("x/1.png", b"")])
    with pytest.raises(UserError, match="only one of them has 9, x"):
        open_splits(config(tmp_path))
    for split, form in (("train", "{0}.png {0}.cls"), ("val", "{0}/{0}.png")):
        folder = tmp_path / "mixed" / split
        names = [name for number in range(11) for name in form.format(number).split()]
        write_tar(
            folder / "1.tar",
            [(name, b"%d" % int(re.findall(r"\d+", name)[0])) for name in names],
        )
    with pytest.raises(UserError, match="both by numbers in .cls files, or both by folders"):
        open_splits(config(tmp_path / "mixed", classes=11))


def test_one_split_in_two_places_is_refused(few_digits: Path, tmp_path: Path) -> None:
    pack(few_digits / "train", f"{tmp_path}/train-{{}}.tar", shards=2)
    (tmp_path / "val").symlink_to(few_digits / "val")
    (tmp_path / "._train-000000.tar").touch()  # as macOS leaves beside a copy
    assert len(open_split(config(tmp_path), "train")) == 80
    pack(few_digits / "train", f"{tmp_path}/copy-train-{{}}.tar", shards=2)
    with pytest.raises(
        UserError, match=r"shards of two sets for train: copy-train-\*.tar and trai"
    ):
        open_split(config(tmp_path), "train")
    for path in tmp_path.glob("copy-*"):
        path.unlink()
    (tmp_path / "train").symlink_to(few_digits / "train")
    with pytest.raises(UserError, match=r"both .*/train and .*/train-\*.tar are there; remove one"):
        open_split(config(tmp_path), "train")


def test_tars_beside_class_folders_are_left_alone(few_digits: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(few_digits / "val", tmp_path / "val"))
    (folder / "n01440764.tar").write_bytes(b"whatever")
    assert len(list_classes(folder)) == 50
