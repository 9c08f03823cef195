from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from beit_exp.data.label_list import list_labelled
from beit_exp.errors import UserError

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
