from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from beit_exp.data.label_table import LabelTable, read_label_table
from beit_exp.errors import UserError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of images, some of them deep."""
    for name in ("a.png", "b.jpg", "deep/in/c.png", "with, comma.png", "图.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def read(
    data: Path, text: str | bytes, *, needs_groups: bool = False, multi_label: bool = False
) -> LabelTable:
    table = data.parent / "labels.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_label_table(
        table, data, num_classes=2, needs_groups=needs_groups, multi_label=multi_label
    )


def test_classes_are_the_sorted_labels_and_images_in_the_order_of_their_paths(data: Path) -> None:
    text = f"label,path\ndog,deep/in/c.png\ncat,{data}/b.jpg\n\ndog,./a.png\n"
    found = read(data, text)
    assert found.images.paths == [str(data / name) for name in ("a.png", "b.jpg", "deep/in/c.png")]
    assert found.images.labels.tolist() == [1, 0, 1]
    assert (found.images.classes, found.splits, found.groups) == (["cat", "dog"], None, None)


def test_quotes_a_byte_order_mark_and_windows_lines_are_read(data: Path) -> None:
    text = '\ufeffpath,label\r\n"with, comma.png","a ""cat"""\r\n图.png,狗\r\n'
    found = read(data, text)
    assert [Path(path).name for path in found.images.paths] == ["with, comma.png", "图.png"]
    assert found.images.classes == ['a "cat"', "狗"]


def test_splits_and_groups_are_columns(data: Path) -> None:
    text = "path,label,split,group\nb.jpg,x,val,2\na.png,x,train,1\ndeep/in/c.png,y,train,1\n"
    found = read(data, text)
    assert (found.splits, found.groups) == (["train", "val", "train"], ["1", "2", "1"])
    assert read(data, "path,label,split\na.png,x,\nb.jpg,y,\n").splits is None


def test_images_may_lie_in_a_tar(data: Path) -> None:
    with tarfile.open(data / "train.tar", "w") as tar:
        tar.add(data / "a.png", "cat/a.png")
    found = read(data, "path,label\ntrain.tar/cat/a.png,x\nb.jpg,y\n")
    assert found.images.paths[1] == f"{data}/train.tar/cat/a.png"
    with pytest.raises(UserError, match=r"line 2 names .*/train.tar/b.png, which is not there"):
        read(data, "path,label\ntrain.tar/b.png,x\nb.jpg,y\n")


def test_several_labels_are_joined_and_an_image_may_have_none(data: Path) -> None:
    text = "path,label,split\na.png,dog|cat,train\nb.jpg,,train\ndeep/in/c.png, dog ,val\n"
    found = read(data, text, multi_label=True)
    assert found.images.classes == ["cat", "dog"]
    assert found.images.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert found.images.labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\na.png,dog||cat\n", "line 2 has an empty label in 'dog||cat'"),
        ("path,label\na.png,dog|dog\n", "line 2 has a label twice in 'dog|dog'"),
        ("path,label\na.png,dog\nb.jpg,\n", r"dataset.num_classes = 2: .* 1 classes \(dog\)"),
        ("path,label\na.png,\nb.jpg,\n", "labels.csv names 0 labels"),
        (
            "path,label,split\na.png,dog|cat,train\nb.jpg,,val\n",
            "no image of val in .*labels.csv has a label",
        ),
        (
            "path,label,split\na.png,dog,train\nb.jpg,dog|cat,val\n",
            "has the split train and the label cat",
        ),
    ],
)
def test_wrong_labels_of_several_are_told_with_their_line(data: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(data, text, multi_label=True)


TOLD = "path,label,split\na.png,x,train\n"
WRONG = {  # table -> what is said of it
    "": "line 1 must name the columns: path,label",
    "path,label\n": "line 2 is missing: there is no image",
    "a.png,x\nb.jpg,y\n": "line 1 has the unknown column 'a.png'; columns are path, label, split, ",
    "path,class\na.png,x\n": "line 1 has the unknown column 'class'",
    "path\na.png\n": "line 1 lacks the column 'label': the first line names columns",
    "path,label,path\na.png,x,b\n": "line 1 has the column 'path' twice",
    "path,label\na.png\n": "line 2 has 1 fields for 2 columns",
    "path,label\na.png,x,y\n": "line 2 has 3 fields for 2 columns",
    "path,label\n,x\n": "line 2 has an empty path",
    "path,label\na.png,x\nb.jpg, \n": "line 3 has an empty label",
    "path,label\na.png,x\n./a.png,y\n": r"line 3 names './a.png' again, as line 2 does",
    "path,label\nno.png,x\na.png,y\n": "line 2 names .*/no.png, which is not there",
    "path,label\na.png,x\ndeep,y\n": "line 3 names 'deep', which is not an image's name",
    f"{TOLD}b.jpg,y,valid\n": "line 3 has the split 'valid'; it must be one of train, val, test",
    f"{TOLD}b.jpg,y,\n": "line 3 names no split, as other lines do",
    f"{TOLD}b.jpg,y,test\n": "no line of .*labels.csv has the split val",
    f"{TOLD}b.jpg,y,val\n": "has the split train and the label y",
    "path,label\na.png,x\nb.jpg,x\n": r"names 1 labels \(x\); there must be two at the least",
    "path,label\na.png,x\nb.jpg,y\ndeep/in/c.png,z\n": r"names 3 classes \(x, y, z\)",
    'path,label\na.png,"x\n': "line 2 is no CSV: unexpected end of data",
    'path,label\na.png,"x"y\n': "line 2 is no CSV",
}


@pytest.mark.parametrize("text", WRONG, ids=[repr(text[:40]) for text in WRONG])
def test_a_wrong_table_is_told_with_its_line(data: Path, text: str) -> None:
    with pytest.raises(UserError, match=WRONG[text]) as caught:
        read(data, text)
    assert str(data.parent / "labels.csv") in str(caught.value)


def test_groups_that_are_needed_must_be_there(data: Path) -> None:
    for text, said in (
        ("path,label\na.png,x\nb.jpg,y\n", "line 1 lacks the column 'group'"),
        ("path,label,group\na.png,x,1\nb.jpg,y,\n", "line 3 has an empty group"),
    ):
        with pytest.raises(UserError, match=said):
            read(data, text, needs_groups=True)


def test_a_table_that_is_no_text_is_refused(data: Path) -> None:
    utf_16 = "path,label\na.png,x\n".encode("utf-16")
    for content, line in ((b"path,label\n\xff.png,x\n", 2), (utf_16, 1)):
        with pytest.raises(UserError, match=rf"labels.csv, line {line} is not UTF-8"):
            read(data, content)
    with pytest.raises(UserError, match="nowhere.csv cannot be read: No such file"):
        read_label_table(
            Path("nowhere.csv"), data, num_classes=2, needs_groups=False, multi_label=False
        )
