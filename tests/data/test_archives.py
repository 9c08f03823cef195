"""Images in tars are those of the folders they were made of."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data import transforms
from beit_exp.data.sources import describe, list_images, open_split
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
        packed = open_split(config_for(tmp_path, *settings).dataset, split)
        plain = open_split(config_for(few_digits, *settings).dataset, split)
        assert [path.partition(".tar/")[2] for path in packed.paths] == [
            path.removeprefix(f"{few_digits / split}/") for path in plain.paths
        ]
        assert (packed.labels == plain.labels).all() and packed.classes == plain.classes
        facts = [
            describe(images, name="", source="", context="")["digest"] for images in (packed, plain)
        ]
        assert facts[0] == facts[1]
        images = [np.asarray(transforms.load_image(path)) for path in packed.paths]
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
    found = open_split(config_for(tmp_path, "dataset.name=image_folder", labels).dataset, "val")
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
    settings = config_for(tmp_path, "dataset.name=image_folder", "dataset.num_classes=10").dataset
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
        transforms.load_image(path)
