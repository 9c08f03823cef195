from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.sources import (
    describe,
    list_classes,
    list_images,
    list_labelled,
    open_split,
    training_images,
)
from beit_exp.errors import UserError


def config_for(folder: Path, *overrides: str) -> Config:
    return make_config(f"dataset.data_url={folder}", *overrides)


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
    with pytest.raises(UserError, match="the class folder .*cat holds no image"):
        list_classes(tmp_path)


def test_a_wrong_number_of_classes_is_named(few_digits: Path) -> None:
    cfg = config_for(few_digits, "dataset.name=image_folder", "dataset.num_classes=9")
    with pytest.raises(UserError, match="dataset.num_classes = 9: .*train holds 10 class folders"):
        open_split(cfg.dataset, "train")


def test_a_missing_folder_says_how_to_try_the_quickstart(tmp_path: Path) -> None:
    cfg = config_for(tmp_path, "dataset.name=image_folder")
    with pytest.raises(UserError, match=r"train is missing.*run the quickstart: python .*launch"):
        open_split(cfg.dataset, "train")


LABELLED = {
    "a class no folder has": (
        "a.png 0\nb.png 1\nc.png 7\n",
        "has the class '7'; dataset.num_classes = 2",
    ),
    "an image without a class": (
        "a.png 0\nb.png 1\n",
        r"names no class for .*c\.png \(1 such images\)",
    ),
    "a line without a class": (
        "a.png 0\nb.png\nc.png 1\n",
        "must hold one line `<image> <class>` for each image",
    ),
    "a line without an image": (
        "a.png 0\nb.png 1\nc.png 1\nd.png 1\n",
        r"names d\.png, which is not in .* \(1 such images\)",
    ),
    "too few classes": (
        "a.png cat\nb.png cat\nc.png cat\n",
        "has 1 classes; dataset.num_classes = 2",
    ),
}


def flat_folder(folder: Path) -> Path:
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("problem", LABELLED)
def test_a_wrong_label_list_is_told(tmp_path: Path, problem: str) -> None:
    text, complaint = LABELLED[problem]
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    with pytest.raises(UserError, match=complaint):
        list_labelled(flat_folder(tmp_path), labels, 2, [])


def test_a_label_list_that_is_no_text_is_told(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    for content, complaint in (
        ("a.png 0\n".encode("utf-16"), "is refused"),
        (b"\xff\xfe\x00", "is refused"),
        (None, "cannot be read: No such file"),
    ):
        labels.unlink(missing_ok=True)
        if content is not None:
            labels.write_bytes(content)
        with pytest.raises(UserError, match=complaint):
            list_labelled(flat_folder(tmp_path), labels, 2, [])
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        list_labelled(flat_folder(tmp_path), tmp_path, 2, [])


def test_images_of_one_name_in_two_folders_have_no_label(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "a.png")
    (tmp_path / "labels.txt").write_text("a.png 0\n")
    with pytest.raises(UserError, match="images of the same name in several folders"):
        list_labelled(tmp_path, tmp_path / "labels.txt", 1, [])


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


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        ("b.png 0\na.png 1\nc.png 1\n", [], ([1, 0, 1], ["0", "1"])),
        ("a.png,dog\nb.png,cat\nc.png,dog\n", [], ([1, 0, 1], ["cat", "dog"])),
        ("val/a.png 1\nval/b.png 1\nval/c.png 0\n", ["n01", "n02"], ([1, 1, 0], ["n01", "n02"])),
        ("a.png n02\nb.png n01\nc.png n02\n", ["n01", "n02"], ([1, 0, 1], ["n01", "n02"])),
    ],
)
def test_labels_are_names_or_numbers(
    tmp_path: Path, text: str, classes: list[str], expected: tuple
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    found = list_labelled(flat_folder(tmp_path), labels, 2, classes)
    assert (found.labels.tolist(), found.classes) == expected
    assert [Path(path).name for path in found.paths] == ["a.png", "b.png", "c.png"]


def test_as_many_images_of_each_class_as_asked_for(few_digits) -> None:
    few = training_images(
        make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=3")
    )
    assert np.bincount(few.labels).tolist() == [3] * 10
    assert [path.split("/")[-2] for path in few.paths] == [str(label) for label in few.labels]
    other = training_images(
        make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=3", "seed=1")
    )
    assert few.paths != other.paths
    with pytest.raises(UserError, match="dataset.images_per_class = 9: the class 0 holds 8 images"):
        training_images(make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=9"))


def test_a_data_set_is_known_by_its_names_and_sizes(few_digits: Path, tmp_path: Path) -> None:
    found = list_classes(few_digits / "val")
    facts = describe(found, name="digits", source="x", context="validation")
    assert (facts["images"], facts["classes"], len(facts["digest"])) == (50, 10, 32)
    elsewhere = tmp_path / "val"
    for path in found.paths:
        target = elsewhere / Path(path).relative_to(few_digits / "val")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
    moved = list_classes(elsewhere)
    assert describe(moved, name="digits", source="x", context="validation") == facts
    Path(moved.paths[7]).write_bytes(b"other")
    assert (
        describe(moved, name="digits", source="x", context="validation")["digest"]
        != facts["digest"]
    )
