"""Images in tars are those of the folders they were made of."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data import archives
from beit_exp.data.decoding import load_image
from beit_exp.data.description import describe
from beit_exp.data.listing import list_images
from beit_exp.data.sources import open_split
from beit_exp.errors import UserError


def config_for(folder: Path, *overrides: str) -> Config:
    return make_config(f"dataset.data_url={folder}", *overrides)


def pack(folder: Path, archive: Path) -> None:
    """As `tar -cf train.tar -C train .` does, in an order of its own."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(folder.rglob("*"), reverse=True):
            tar.add(path, f"./{path.relative_to(folder)}", recursive=False)


def test_images_in_tars_are_those_of_the_folders(few_digits: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        pack(few_digits / split, tmp_path / f"{split}.tar")
    settings = ("dataset.name=image_folder", "dataset.num_classes=10")
    for split in ("train", "val"):
        packed = open_split(config_for(tmp_path, *settings), split)
        plain = open_split(config_for(few_digits, *settings), split)
        assert [path.partition(".tar/")[2] for path in packed.paths] == [
            path.removeprefix(f"{few_digits / split}/") for path in plain.paths
        ]
        assert (packed.labels == plain.labels).all() and packed.classes == plain.classes
        facts = [
            describe(images, name="", source="", context="")["digest"] for images in (packed, plain)
        ]
        assert facts[0] == facts[1]
        images = [np.asarray(load_image(path)) for path in packed.paths]
        assert all(
            (image == Image.open(path).convert("RGB")).all()
            for image, path in zip(images, plain.paths, strict=True)
        )


def test_a_flat_tar_takes_its_labels_from_a_list(few_digits: Path, tmp_path: Path) -> None:
    paths = sorted((few_digits / "val").glob("*/*.png"))
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for path in paths:
            tar.add(path, path.name)
    (tmp_path / "labels.txt").write_text(
        "".join(f"{path.name} {path.parent.name}\n" for path in paths)
    )
    labels = f"dataset.val_labels={tmp_path / 'labels.txt'}"
    found = open_split(config_for(tmp_path, "dataset.name=image_folder", labels), "val")
    assert {
        Path(path).name: label
        for path, label in zip(found.paths, found.labels.tolist(), strict=True)
    } == {path.name: int(path.parent.name) for path in paths}


def test_a_compressed_tar_and_a_tar_beside_its_folder_are_refused(
    few_digits: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "train.tar", "w:gz") as tar:
        tar.add(few_digits / "train", ".")
    (tmp_path / "val").mkdir()
    settings = config_for(tmp_path, "dataset.name=image_folder", "dataset.num_classes=10")
    with pytest.raises(
        UserError, match=r"train.tar cannot be read as a tar, which must not be compressed"
    ):
        open_split(settings, "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="both .*train and .*train.tar are there; remove one"):
        open_split(settings, "train")


def test_a_damaged_image_in_a_tar_is_named(few_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        tar.add(tmp_path / "broken.png", "cat/broken.png")
    (path,) = list_images(tmp_path / "train.tar")
    with pytest.raises(UserError, match=r"train.tar/cat/broken.png cannot be read as an image"):
        load_image(path)


def tar_of(path: Path, *members: tuple[str, str | bytes]) -> bytes:
    """A tar of files and, where the content is text, of symlinks to it."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def test_links_in_a_tar_are_the_files_that_they_lead_to(tmp_path: Path) -> None:
    path = tmp_path / "train.tar"
    tar_of(path, ("cat/1.png", b"one"), ("cat/2.png", "1.png"), ("dog/1.png", "../cat/2.png"))
    assert [Path(name).name for name in list_images(path)] == ["1.png", "2.png", "1.png"]
    assert {archives.read(name) for name in list_images(path)} == {b"one"}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ((("a.png", b"1"), ("./a.png", b"2")), "a.png is there twice"),
        ((("a.png", "b.png"),), "a.png links to b.png, which is no file in it"),
        ((("a.png", "b.png"), ("b.png", "a.png")), "links to .*, which is no file in it"),
        ((("../a.png", b"1"),), "leads out of the tar"),
        ((("a.png", "/etc/passwd"),), "leads out of the tar"),
    ],
)
def test_a_tar_with_what_a_folder_could_not_hold_is_refused(
    members: tuple[tuple[str, str | bytes], ...], said: str, tmp_path: Path
) -> None:
    tar_of(tmp_path / "t.tar", *members)
    with pytest.raises(UserError, match=said):
        list_images(tmp_path / "t.tar")


def test_every_bit_of_every_header_counts(tmp_path: Path) -> None:
    """`tarfile` alone takes a damaged header for the end, and lists what came before."""
    members = [(f"{number}.png", bytes([number])) for number in range(1, 4)]
    whole = tar_of(tmp_path / "whole.tar", *members)
    path = tmp_path / "flipped.tar"
    for start in range(0, 3 * 1024, 1024):
        for place in range(start, start + 512, 7):
            content = bytearray(whole)
            content[place] ^= 1 << place % 8
            path.write_bytes(content)
            archives.index.cache_clear()
            with pytest.raises(UserError):
                list_images(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: whole[: 3 * 1024], "it is cut short: after 3 members its end is missing"),
        (lambda whole: whole + whole, "a damaged header, or another tar"),
    ],
)
def test_a_tar_whose_end_is_not_its_end_is_refused(change, said: str, tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "t.tar", *[(f"{number}.png", b"1") for number in range(3)])
    (tmp_path / "t.tar").write_bytes(change(whole))
    with pytest.raises(UserError, match=said):
        list_images(tmp_path / "t.tar")
