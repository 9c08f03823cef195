from __future__ import annotations

import re
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from settings import ROOT

from beit_exp.config.schema import setting_names
from beit_exp.launch.composition import build_lookup, groups, options
from beit_exp.launch.settings_pages import COMMAND, make_pages, stale_pages, write_pages

PAGES = make_pages()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of `conf/` with its pages, none of them stale."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    write_pages(tmp_path / "conf")
    return tmp_path / "conf"


def test_the_pages_say_what_schema_and_comments_say() -> None:
    """Tests of all documents tell more of them: lengths, links, and whether commands are valid."""
    assert list(stale_pages()) == [], f"write them by {COMMAND}"


def test_a_changed_comment_makes_its_pages_stale_until_they_are_written(copied: Path) -> None:
    file = copied / "config.yaml"
    file.write_text(file.read_text().replace("# pixels along a side of a patch", "# changed"))
    assert list(stale_pages(copied)) == [copied / "model" / "README.md"]
    assert write_pages(copied) == [copied / "model" / "README.md"]
    assert "| Changed; each patch" in (copied / "model" / "README.md").read_text()
    assert stale_pages(copied) == {}


def test_a_new_option_and_a_lost_page_are_stale(copied: Path) -> None:
    (copied / "train" / "mine.yaml").write_text("# Mine | ours.\nepochs: 3\n")
    (copied / "mask" / "README.md").unlink()
    assert sorted(path.parent.name for path in stale_pages(copied)) == ["conf", "mask", "train"]
    page = stale_pages(copied)[copied / "train" / "README.md"]
    assert "| `mine` | Mine \\| ours | `epochs=3` |" in page


def test_each_setting_stands_on_one_page_with_a_meaning() -> None:
    rows = [
        re.split(r"(?<!\\)\|", line)
        for text in PAGES.values()
        for line in text.partition("## Options")[0].splitlines()
        if re.match(r"\| `[\w.]+` \|", line)
    ]
    assert sorted(row[1].strip(" `") for row in rows) == sorted(setting_names())
    assert [row for row in rows if len(row) != 6 or not row[4].strip()] == []


def test_a_page_tells_how_it_is_made() -> None:
    assert {text.splitlines()[0] for text in PAGES.values()} == {f"<!-- made by {COMMAND} -->"}


def test_pages_beside_options_are_neither_options_nor_groups() -> None:
    lookup = build_lookup(
        Namespace(config_path=None, config_dir=None, config_name=None, overrides=[])
    )
    folders = [path.name for path in (ROOT / "conf").iterdir() if path.is_dir()]
    assert groups(lookup) == sorted(folders)
    for group in folders:
        files = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
        assert options(lookup, group) == files
