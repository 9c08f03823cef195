from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from flawed_images import FOUND, write_flawed

from beit_exp.data.inspection import Inspection, inspect
from beit_exp.data.listing import list_classes, list_other_files
from beit_exp.report import data_findings
from beit_exp.report.data_findings import as_json, data_metrics, find, kinds, pair_rows, side_rows


def inspected(folder: Path) -> Inspection:
    lists = {split: list_classes(folder / split) for split in ("train", "val")}
    return inspect(lists, list_other_files(folder / "train"), workers=2)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    return inspected(write_flawed(tmp_path_factory.mktemp("flawed")))


def test_the_leak_is_told_first(flawed: Inspection) -> None:
    assert [tuple(finding) for finding in find(flawed)] == [
        ("leak", "2 images of val are in train, too (1 the same file, 1 nearly the same picture)"),
        ("labels", "1 image is in another class, too (the same file)"),
        (
            "duplicates",
            "2 images are in the same split once more (1 the same file, 1 nearly the same picture)",
        ),
        ("classes", "2 classes with fewer than 10 training images: cat (5), dog (7)"),
        ("other files", "1 file in class folders, no image by its name: cat/notes.txt"),
        ("tiny", "1 image with a side shorter than 32 pixels: dog/tiny.png"),
        ("long", "1 image with a side more than 4 times as long as the other: dog/long.png"),
    ]


def test_what_cannot_be_read_is_told_behind_leaks_and_labels(tmp_path: Path) -> None:
    folder = write_flawed(tmp_path)
    (folder / "train" / "dog" / "3.png").write_bytes(b"")
    data = inspected(folder)
    assert [finding.name for finding in find(data)][:3] == ["leak", "labels", "unreadable"]
    assert data_metrics(data) == {**FOUND, "data/train_bad_images": 1}
    assert as_json(data, source="")["unreadable"]["listed"][0].startswith(
        f"{folder}/train/dog/3.png cannot be read as an image"
    )


def test_every_finding_is_a_number(flawed: Inspection) -> None:
    assert data_metrics(flawed) == FOUND


def test_a_search_that_was_cut_is_told(flawed: Inspection) -> None:
    cut = Inspection(**{**vars(flawed), "pairs": flawed.pairs._replace(is_whole=False)})
    assert "there are more near pairs than were looked for" in [each.text for each in find(cut)]


def test_a_pair_is_told_with_its_splits_and_classes(flawed: Inspection) -> None:
    rows = list(pair_rows(flawed))
    assert [row[2:] for row in rows[:3]] == [
        ["exact", 0, "train", "val", "cat", "cat"],
        ["near", rows[1][3], "train", "val", "dog", "dog"],
        ["exact", 0, "train", "train", "cat", "dog"],
    ]
    assert [Path(path).name for path in rows[0][:2]] == ["0.png", "leak.png"]


def test_modes_formats_and_sides_are_counted(flawed: Inspection) -> None:
    assert kinds(flawed, "mode") == {"RGB": 17, "L": 1}
    assert kinds(flawed, "format") == {"PNG": 17, "JPEG": 1}
    assert side_rows(flawed)[:2] == [
        ["train", "width", 16, 96, 250],
        ["train", "height", 16, 80, 80],
    ]


def test_the_file_for_programs_holds_the_beginning_of_long_lists(
    flawed: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_findings, "MOST_LISTED", 3)
    whole = json.loads(json.dumps(as_json(flawed, source="/data")))
    assert whole["pairs"]["count"] == 4 and len(whole["pairs"]["listed"]) == 3
    assert whole["classes"] == {"train": {"cat": 5, "dog": 7}, "val": {"cat": 3, "dog": 3}}
    assert whole["leaks"] == [{"first": "train", "second": "val", "exact": 1, "near": 1}]
    assert whole["metrics"] == FOUND


def test_a_sound_data_set_has_nothing_to_look_after(flawed: Inspection) -> None:
    sound = Inspection(
        **{
            **vars(flawed),
            "pairs": flawed.pairs.take(np.zeros(0, int)),
            "other_files": [],
            "labels": np.zeros_like(flawed.labels),
            "classes": ["cat"],
            "fingerprints": np.where(
                np.arange(len(flawed.paths)) < 0, flawed.fingerprints, flawed.fingerprints[0]
            ),
        }
    )
    assert find(sound) == []
