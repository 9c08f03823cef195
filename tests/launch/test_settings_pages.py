from __future__ import annotations

import re
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from settings import OFFICIAL, ROOT, compose

from beit_exp.config.mapping import build_config
from beit_exp.config.schema import setting_names
from beit_exp.launch.arguments import hydra_arguments
from beit_exp.launch.composition import build_lookup, groups, options
from beit_exp.launch.found_settings import find_settings
from beit_exp.launch.settings_pages import COMMAND, make_pages, stale_pages, write_pages

PAGES = make_pages()
LAUNCHES = [
    command
    for text in PAGES.values()
    for command in re.findall(r"^python launch\.py .*$", text, re.M)
]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of `conf/` with its pages, none of them stale."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    write_pages(tmp_path / "conf")
    return tmp_path / "conf"


@pytest.mark.parametrize("place", PAGES)
def test_a_page_says_what_schema_and_comments_say(place: str) -> None:
    path = ROOT / place
    assert path.exists() and path.read_text() == PAGES[place], f"{place} is stale: {COMMAND}"


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


def test_a_page_is_short_and_tells_how_it_is_made() -> None:
    assert [place for place, text in PAGES.items() if len(text.splitlines()) >= 200] == []
    assert {text.splitlines()[0] for text in PAGES.values()} == {f"<!-- made by {COMMAND} -->"}


def test_a_table_is_the_only_reason_for_a_long_line() -> None:
    long = [
        (place, line)
        for place, text in PAGES.items()
        for line in text.splitlines()[1:]
        if len(line) > 120 and not line.startswith("|")
    ]
    assert long == []


def test_links_lead_into_rooms_that_are_there() -> None:
    links = [
        (place, target)
        for place, text in PAGES.items()
        for target in re.findall(r"\]\(([^)#]+)\)", text)
    ]
    assert len(links) > 30
    assert [
        (place, target)
        for place, target in links
        if not ((ROOT / place).parent / target).resolve().parent.is_relative_to(ROOT)
        or not ((ROOT / place).parent / target).resolve().parent.is_dir()
    ] == []


@pytest.mark.parametrize("command", LAUNCHES)
def test_a_command_to_paste_is_a_valid_run(command: str, few_digits: Path) -> None:
    places = {"PATH": str(few_digits), "RUN_OR_FILE": str(OFFICIAL), "SWEEP_OR_RUN": "somewhere"}
    words = [
        f"{key}={places.get(value, value)}"
        for key, _, value in (word.partition("=") for word in command.split()[2:])
    ]
    assert build_config(find_settings(compose(*hydra_arguments(words)))).seed == 42


def test_pages_beside_options_are_neither_options_nor_groups() -> None:
    lookup = build_lookup(
        Namespace(config_path=None, config_dir=None, config_name=None, overrides=[])
    )
    folders = [path.name for path in (ROOT / "conf").iterdir() if path.is_dir()]
    assert groups(lookup) == sorted(folders)
    for group in folders:
        files = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
        assert options(lookup, group) == files
