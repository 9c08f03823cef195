"""The form and the links of every document, and that each rule sees what breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import document_form as form
import pytest
from documents import Page, files_of, own_files, own_pages, read_page, read_pages, slug, width

PAGES = own_pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short_and_its_lines_too(name: str) -> None:
    assert list(form.lengths(PAGES[name])) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is_written_in(name: str) -> None:
    assert list(form.languages(PAGES[name])) == []


def test_every_link_leads_somewhere() -> None:
    assert list(form.dead_links(PAGES, own_files())) == []


def test_every_picture_is_there_and_shown() -> None:
    assert list(form.dead_pictures(PAGES, own_files())) == []


def test_every_page_is_found_from_the_first() -> None:
    assert list(form.unreached(PAGES)) == []


def test_a_translation_has_the_same_headings_and_pictures() -> None:
    assert list(form.untranslated(PAGES)) == []


def written(folder: Path, texts: Mapping[str, str]) -> dict[str, Page]:
    """A repository of these files."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return read_pages(folder)


def page(text: str, name: str = "docs.md") -> Page:
    return read_page(name, text)


LONG = "x" * 121


@pytest.mark.parametrize(
    ("name", "text", "complaints"),
    [
        ("README.md", "x\n" * 150, []),
        ("README.md", "x\n" * 151, ["README.md: 151 lines, at most 150"]),
        ("docs.md", "x\n" * 199, []),
        ("docs.md", "x\n" * 200, ["docs.md: 200 lines, at most 199"]),
        ("docs.md", "x" * 120, []),
        ("docs.md", f"a\n\n{LONG}", ["docs.md:3: 121 characters, at most 120"]),
        ("docs.md", "字" * 61, ["docs.md:1: 122 characters, at most 120"]),
        ("docs.md", f"```text\n{LONG}\n```", []),
        ("README.md", f"```text\n{LONG}\n```", ["README.md:2: 121 characters, at most 120"]),
        ("docs.md", f"| a |\n|---|\n| {LONG} |", []),
        ("README.md", f"| a |\n|---|\n| {LONG} |", ["README.md:3: 125 characters, at most 120"]),
        ("docs.md", f"[a](https://a.org/{LONG})", []),
        ("docs.md", f'<img src="a.png" alt="{LONG}">', []),
        ("docs.md", f"see [a](https://a.org/{LONG})", ["docs.md:1: 144 characters, at most 120"]),
    ],
)
def test_long_pages_and_lines_are_seen(name: str, text: str, complaints: list[str]) -> None:
    assert list(form.lengths(page(text, name))) == complaints


@pytest.mark.parametrize("text", ["```\nx\n```", "```shell\nx\n```", "    indented\n"])
def test_a_block_without_a_known_language_is_seen(text: str) -> None:
    (complaint,) = form.languages(page(text))
    assert complaint.startswith("docs.md:1: a block of ")


def test_a_fence_in_a_list_is_a_block_of_its_language() -> None:
    assert [block.text for block in page("- a\n\n  ```bash\n  ls\n  ```\n").blocks] == ["ls\n"]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("What you type", "what-you-type"),
        ("A run's directory", "a-runs-directory"),
        ("Mixup & CutMix", "mixup--cutmix"),
        ("The `model` group: options", "the-model-group-options"),
        ("**Bold** and [a link](a.md)", "bold-and-a-link"),
        ("snake_case 2.0", "snake_case-20"),
        ("与原始实现的一致性", "与原始实现的一致性"),
        ("评估、预测与导出（导出）", "评估预测与导出导出"),
        ("Über 5 %", "über-5-"),
    ],
)
def test_a_heading_has_the_anchor_that_github_gives_it(heading: str, anchor: str) -> None:
    assert page(f"## {heading}\n").anchors == {anchor}


def test_equal_headings_are_numbered() -> None:
    assert page("# A\n\n## A\n\n### A-1\n\n## A\n").anchors == {"a", "a-1", "a-1-1", "a-2"}


def test_no_heading_is_read_in_a_block() -> None:
    assert page("```bash\n# no heading\n```\n").headings == []


LINKED = {
    "README.md": "# One\n\n[two](conf/README.md#the-second)\n\n[folder](conf)\n\n[back](#one)\n",
    "conf/README.md": '# Two\n\n## The second\n\n<a href="../README.md#one">up</a>\n',
}


def test_good_links_are_no_complaint(tmp_path: Path) -> None:
    pages = written(tmp_path, LINKED)
    assert list(form.dead_links(pages, files_of(tmp_path))) == []
    assert list(form.unreached(pages)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a](missing.md)", "missing.md: is not there"),
        ("[a](CONF/README.md)", "CONF/README.md: is not there"),
        ("[a](../outside.md)", "../outside.md: is not there"),
        ('<a href="missing.md">a</a>', "missing.md: is not there"),
        ("[a](#missing)", "#missing: no such heading in README.md"),
        ("[a](conf/README.md#two-1)", "conf/README.md#two-1: no such heading in conf/README.md"),
        ("[a](conf#one)", "conf#one: no such heading in conf/README.md"),
        ("[a](launch.py#L3)", "launch.py#L3: an anchor of something that is no page"),
        ("[a](/conf/README.md)", "/conf/README.md: begins at the root of a disk or a server"),
        ("[a](ftp://a.org)", "ftp://a.org: is not https"),
        ("[a](http://a.org)", "http://a.org: is not https"),
        ("<http://a.org>", "http://a.org: is not https"),
        ("[a](https://localhost:5000)", "https://localhost:5000: is no address"),
        ("[a](https://a.org.)", "https://a.org.: is no address"),
        ("[a](https://github.com/x/BEiT-Exp/README.md)", "leads to this repository"),
        ("see http://a.org", "http://a.org: no link, as it is written"),
        ("[a](b c.md)", "](b c.md): no link, as it is written"),
        ("[a][nowhere]", "][nowhere]: no link, as it is written"),
        ("| a |\n|---|\n| [a](missing.md) |", "missing.md: is not there"),
    ],
)
def test_a_dead_link_is_seen(text: str, complaint: str, tmp_path: Path) -> None:
    first = f"{LINKED['README.md']}\n{text}\n"
    pages = written(tmp_path, {**LINKED, "README.md": first, "launch.py": ""})
    (found,) = form.dead_links(pages, files_of(tmp_path))
    assert found.startswith("README.md:9: " if "|" not in text else "README.md:11: ")
    assert complaint in found


def test_a_link_in_a_block_or_in_code_is_none(tmp_path: Path) -> None:
    text = "`[a](b.md)`\n\n```text\n[a](b.md)\n```\n"
    assert list(form.dead_links(written(tmp_path, {"README.md": text}), {"README.md"})) == []


def test_a_page_that_no_link_leads_to_is_seen(tmp_path: Path) -> None:
    pages = written(tmp_path, {**LINKED, "lost.md": "[a](also_lost.md)", "also_lost.md": "a"})
    assert list(form.unreached(pages)) == [
        "also_lost.md: no link leads here from README.md",
        "lost.md: no link leads here from README.md",
    ]


SHOWN = """<picture>
  <source media="(prefers-color-scheme: dark)" srcset=".pictures/dark.png">
  <img src=".pictures/light.png" alt="Curves">
</picture>

![A table](.pictures/table.png)
"""


def test_pictures_of_html_and_of_markdown_are_found(tmp_path: Path) -> None:
    names = ("dark", "light", "table")
    pages = written(tmp_path, {"README.md": SHOWN, **{f".pictures/{n}.png": "" for n in names}})
    assert list(form.dead_pictures(pages, files_of(tmp_path))) == []


def test_pictures_that_are_missing_mute_or_unused_are_seen(tmp_path: Path) -> None:
    text = SHOWN.replace('alt="Curves"', "") + "\n![](.pictures/other.png)\n"
    kept = {f".pictures/{name}.png": "" for name in ("light", "table", "other", "unused")}
    pages = written(tmp_path, {"README.md": text, **kept})
    assert list(form.dead_pictures(pages, files_of(tmp_path))) == [
        "README.md:2: .pictures/dark.png: no such picture",
        "README.md:3: .pictures/light.png: says nothing in words",
        "README.md:8: .pictures/other.png: says nothing in words",
        ".pictures/unused.png: shown by no page",
    ]


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ({"A_CN.md": "# 一"}, "A_CN.md: a translation of nothing"),
        ({"A.md": "# A\n\n## B", "A_CN.md": "# 一"}, "levels of headings [1], in A.md [1, 2]"),
        (
            {"A.md": "# A\n\n![a](a.png)", "A_CN.md": "# 一\n\n![a](b.png)"},
            "only one of it and A.md shows ['a.png', 'b.png']",
        ),
    ],
)
def test_a_translation_that_differs_is_seen(
    texts: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    (found,) = form.untranslated(written(tmp_path, texts))
    assert complaint in found


def test_hidden_folders_hold_no_pages(tmp_path: Path) -> None:
    assert list(written(tmp_path, {"README.md": "", ".venv/lib/a.md": ""})) == ["README.md"]


def test_a_wide_character_takes_two_places() -> None:
    assert (width("abc"), width("评估"), width("é·")) == (3, 4, 2)
    assert slug("评估 a") == "评估-a"
