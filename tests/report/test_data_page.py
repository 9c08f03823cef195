from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from flawed_images import FOUND, write_flawed

from beit_exp.data.inspection import Inspection, inspect
from beit_exp.data.listing import list_classes
from beit_exp.report.data_page import write_data_report


def inspected(folder: Path, *splits: str) -> Inspection:
    lists = {split: list_classes(folder / split) for split in splits}
    return inspect(lists, [], workers=2)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with the report of a flawed data set."""
    folder = tmp_path_factory.mktemp("flawed")
    data = inspected(write_flawed(folder / "<data>"), "train", "val")
    write_data_report(data, folder / "run", source="<data>")
    return folder / "run"


def test_the_page_tells_the_leak_before_all_and_needs_no_other_file(written: Path) -> None:
    page = (written / "report" / "report.html").read_text()
    assert page.index("2 images of val are in train, too") < page.index("1 image is in another")
    assert page.count("<img") == 3 == page.count('src="data:image/png;base64,')
    assert "12 train, 6 val" in page and "RGB 17, L 1" in page and "PNG 17, JPEG 1" in page
    assert "<td>train and val</td><td>cat</td>" in page
    assert "<td>train</td><td>cat and dog</td>" in page
    assert "<data>" not in page and "&lt;data&gt;" in page


def test_every_pair_stands_in_a_table(written: Path) -> None:
    with (written / "duplicates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["second_split"], row["second_label"]) for row in rows] == [
        ("exact", "val", "cat"),
        ("near", "val", "dog"),
        ("exact", "train", "dog"),
        ("near", "train", "cat"),
    ]
    assert all(Path(row["first"]).is_file() and Path(row["second"]).is_file() for row in rows)


def test_all_of_it_is_there_for_programs(written: Path) -> None:
    found = json.loads((written / "data.json").read_text())
    assert found["metrics"] == {**FOUND, "data/other_files": 0}
    assert found["source"] == "<data>"


def test_a_report_of_no_pairs_shows_none_and_leaves_no_old_picture(
    written: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(written, tmp_path / "run"))
    write_flawed(tmp_path / "data")
    for path in (tmp_path / "data" / "val").rglob("leak.*"):
        path.unlink()
    lists = {"train": list_classes(tmp_path / "data" / "val")}
    page = write_data_report(inspect(lists, [], workers=1), run, source="data").read_text()
    assert not (run / "report" / "near_pairs.png").exists()
    assert page.count("<img") == 2 and "Nearly the same" not in page
    assert (run / "duplicates.csv").read_text().count("\n") == 1


def test_files_that_cannot_be_read_are_named_even_if_all_are(tmp_path: Path) -> None:
    folder = write_flawed(tmp_path / "data")
    for path in (folder / "val").rglob("*.*"):
        path.write_bytes(b"")
    lists = {"train": list_classes(folder / "val")}
    data = inspect(lists, [], workers=1)
    page = write_data_report(data, tmp_path / "run", source="data").read_text()
    assert page.count("cannot be read as an image") == 6 and page.count("<img") == 1
