from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from beit_exp.data.listing import ImageList
from beit_exp.errors import UserError
from beit_exp.inference.evaluate import evaluate
from beit_exp.inference.other_sets import open_other_set, read_real_labels, real_hits
from beit_exp.report.outcomes import Outcomes

CLASSES = ["ant", "bee", "cat", "dog"]


def folders(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).mkdir(parents=True)
        for number in range(2):
            (place / name / f"{number}.png").touch()
    return place


def test_a_set_may_hold_some_of_the_classes(tmp_path: Path) -> None:
    found = open_other_set("a", str(folders(tmp_path / "a", "dog", "bee")), CLASSES)
    assert found.images.classes == ["bee", "dog"] and found.chosen.tolist() == [1, 3]
    assert found.images.labels.tolist() == [0, 0, 1, 1]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a", ".")
    again = open_other_set("a", str(tmp_path / "a.tar"), CLASSES)
    assert again.chosen.tolist() == [1, 3] and len(again.images) == 4


def test_folders_may_be_the_numbers_of_the_classes(tmp_path: Path) -> None:
    found = open_other_set("v2", str(folders(tmp_path, "0", "10", "2")), [*"abcdefghijkl"])
    # As text 10 comes before 2
    assert found.chosen.tolist() == [0, 10, 2] and found.images.classes == ["a", "k", "c"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("dog", "emu"), "the folder emu is neither a class of the network nor the number"),
        (("0", "4"), r"the folder 4 .* from 0 to 3 \(1 such folders\)"),
        ((), "evaluation.sets.r = .*: holds no class folder"),
    ],
)
def test_a_folder_that_is_no_class_is_named(tmp_path: Path, names, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_other_set("r", str(folders(tmp_path, *names)), CLASSES)
    with pytest.raises(UserError, match="evaluation.sets.r = 'nowhere': there is no such folder"):
        open_other_set("r", "nowhere", CLASSES)


class Fixed:
    """In a network's place: the logits of four classes that were asked for."""

    def __init__(self, logits: list[list[float]]) -> None:
        self.logits = np.array(logits, np.float32)

    def set_train(self, mode: bool) -> None:
        pass

    def __call__(self, images: Tensor) -> Tensor:
        return Tensor(self.logits)


def test_classes_outside_of_a_set_are_left_out_before_the_softmax() -> None:
    """The likeliest of all classes is not in the set: the likeliest in it is the prediction."""
    network = Fixed([[9.0, 1.0, 8.0, 2.0], [0.0, 3.0, 50.0, 1.0]])
    images, labels = np.zeros((2, 3, 4, 4), np.float32), np.array([1, 0])
    found, outcomes = evaluate(
        network,
        [(images, labels)],
        batch_size=2,
        gather=lambda row: row[None],
        check_stop=lambda: None,
        chosen=np.array([1, 3]),
    )
    assert found["top1"] == 100 and outcomes.predicted.tolist() == [1, 0]
    expected = [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))]
    np.testing.assert_allclose(outcomes.probability, expected, rtol=1e-6)
    assert found["loss"] == pytest.approx(-np.log(expected).mean(), rel=1e-6)


def validation(*numbers: int) -> ImageList:
    paths = [f"/data/val/ant/ILSVRC2012_val_{number:08d}.JPEG" for number in numbers]
    return ImageList(paths, np.zeros(len(paths), np.int32), CLASSES)


def test_an_image_may_have_several_right_classes_or_none(tmp_path: Path) -> None:
    file = tmp_path / "real.json"
    file.write_text(json.dumps([[0], [1, 2], [], [3]]))
    answers = read_real_labels(file, validation(2, 1, 3, 4))
    assert answers == [{1, 2}, {0}, set(), {3}]
    predicted = np.array([2, 1, 0, 3])  # the third image has no right class, so it does not count
    share = np.full(4, 0.5, np.float32)
    assert real_hits(Outcomes(np.zeros(4, int), predicted, share, share), answers) == (2, 3)


@pytest.mark.parametrize(
    ("content", "numbers", "said"),
    [
        ("[[0], [4]]", (1,), "must be a list of lists of class numbers, from 0 to 3"),
        ("[[0], [true]]", (1,), "must be a list of lists"),
        ('{"a": [0]}', (1,), "must be a list of lists"),
        ("[[0]", (1,), "real.json is damaged"),
        ("[[], [0], []]", (1, 3), "has no class for any of the 2 images"),
        ("[[0]]", (2,), "has 1 images, and .*00000002.JPEG is none of them by its name"),
    ],
)
def test_another_file_of_real_labels_is_refused(tmp_path: Path, content, numbers, said) -> None:
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(UserError, match=said):
        read_real_labels(tmp_path / "real.json", validation(*numbers))


def test_images_of_another_name_have_no_real_label(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("[[0]]")
    images = ImageList(["/x/0001.png"], np.zeros(1, np.int32), CLASSES)
    with pytest.raises(UserError, match="0001.png is none of them by its name"):
        read_real_labels(tmp_path / "real.json", images)
