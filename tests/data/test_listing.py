from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from flawed_images import write_flawed
from PIL import Image

from beit_exp.data.description import describe
from beit_exp.data.listing import list_classes, list_images, list_other_files
from beit_exp.errors import UserError


def test_files_are_listed_in_sorted_order_without_strangers(
    tmp_path: Path, photo: Image.Image
) -> None:
    for name in ("b/2.png", "b/1.jpg", "a/deep/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(tmp_path / name)
    (tmp_path / "b" / "README.txt").write_text("not an image")
    (tmp_path / "b" / ".hidden.png").write_text("not an image")
    found = list_classes(tmp_path)
    assert [path.removeprefix(f"{tmp_path}/") for path in found.paths] == [
        "a/deep/3.png",
        "b/1.jpg",
        "b/2.png",
    ]
    assert found.labels.tolist() == [0, 1, 1]
    assert list_images(tmp_path) == found.paths


def test_an_empty_class_folder_is_named(few_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="the class folder .*cat holds no image .*put some in"):
        list_classes(tmp_path)


def test_names_that_are_no_text_and_links_to_nowhere_are_told(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    (tmp_path / "dog" / "b.png").symlink_to("nowhere.png")
    images = list_classes(tmp_path)
    with pytest.raises(UserError, match=r"b\.png cannot be read: No such file"):
        describe(images, name="", source="", context="")
    (tmp_path / "dog" / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(UserError, match="is not UTF-8: rename it"):
        list_classes(tmp_path)


def test_files_of_class_folders_that_are_no_images_are_listed(tmp_path: Path) -> None:
    train = write_flawed(tmp_path) / "train"
    (train / "beside.txt").touch()  # in no class folder
    (train / "dog" / "deep").mkdir()
    (train / "dog" / "deep" / "list.csv").touch()
    found = [str(train / name) for name in ("cat/notes.txt", "dog/deep/list.csv")]
    assert list_other_files(train) == found
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        tar.add(train, ".")
    listed = list_other_files(tmp_path / "train.tar")
    assert listed == [path.replace("/train/", "/train.tar/") for path in found]
    (train / "dog" / os.fsdecode(b"\xff.txt")).touch()
    assert list_other_files(train)[-1] == str(train / "dog" / "\ufffd.txt")
