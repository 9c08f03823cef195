"""The documents as a reader of Markdown sees them: headings, links, pictures, blocks, code."""

from __future__ import annotations

import os
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from settings import ROOT


@dataclass(frozen=True)
class Piece:
    """Something on a page: where a link leads, a picture's place, code in a line, or text."""

    text: str
    line: int
    label: str = ""  # of a link, what is clicked; of a picture, what a blind reader hears


@dataclass(frozen=True)
class Block:
    """A block of code; one without a fence has no language."""

    language: str
    text: str
    line: int


@dataclass
class Page:
    """A document; its name is its path from the root on."""

    name: str
    text: str
    headings: list[tuple[int, str]] = field(default_factory=list)  # level, text
    links: list[Piece] = field(default_factory=list)
    pictures: list[Piece] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    code: list[Piece] = field(default_factory=list)
    prose: list[Piece] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    free_lines: set[int] = field(default_factory=set)  # of tables and blocks: as long as need be

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def is_translation(self) -> bool:
        return self.name.endswith("_CN.md")


class Tags(HTMLParser):
    """The links, pictures and anchors of a piece of HTML."""

    def __init__(self, page: Page, line: int) -> None:
        super().__init__()
        self.page, self.line = page, line

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        line = self.line + self.getpos()[0] - 1
        self.page.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.page.links.append(Piece(found["href"], line, "html"))
        if tag == "img":
            self.page.pictures.append(Piece(found.get("src", ""), line, found.get("alt", "")))
        if tag == "source":
            for each in found.get("srcset", "").split(","):
                place = (each.split() or [""])[0]
                self.page.pictures.append(Piece(place, line, found.get("media", "")))


def files_of(root: Path) -> frozenset[str]:
    """Every file of the repository: what git knows or would add, elsewhere all but hidden ones."""
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        return frozenset(name for name in listed.stdout.split("\0") if (root / name).is_file())
    return frozenset(_walked(root))


def _walked(root: Path) -> Iterator[str]:
    kept = (".pictures", ".ci", ".docker")
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".") or name in kept]
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in names)


def read_pages(root: Path) -> dict[str, Page]:
    """Every page of the repository by its name."""
    names = sorted(name for name in files_of(root) if name.endswith(".md"))
    return {name: read_page(name, (root / name).read_text(encoding="utf-8")) for name in names}


@cache
def own_pages() -> dict[str, Page]:
    """This repository's pages."""
    return read_pages(ROOT)


@cache
def own_files() -> frozenset[str]:
    return files_of(ROOT)


def read_page(name: str, text: str) -> Page:
    page, line, level, used = Page(name, text), 1, 0, {}
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.map:
            line = token.map[0] + 1
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type in ("fence", "code_block"):
            language = (token.info.split() or [""])[0] if token.type == "fence" else ""
            page.blocks.append(Block(language, token.content, line))
        elif token.type == "html_block":
            Tags(page, line).feed(token.content)
        elif token.type == "inline":
            _read_line(page, token, line)
            if level:
                heading = heading_text(token)
                page.headings.append((level, heading))
                page.anchors.add(_unique(slug(heading), used))
                level = 0
        if token.type in ("fence", "code_block", "table_open") and token.map:
            page.free_lines |= set(range(token.map[0] + 1, token.map[1] + 1))
    return page


def _read_line(page: Page, token: Token, line: int) -> None:
    text, clicked = "", False
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            line += 1
        elif child.type == "code_inline":
            page.code.append(Piece(child.content, line))
        elif child.type == "link_open":
            clicked = True
            page.links.append(Piece(str(child.attrGet("href")), line))
        elif child.type == "image":
            page.pictures.append(Piece(str(child.attrGet("src")), line, child.content))
        elif child.type == "html_inline":
            Tags(page, line).feed(child.content)
        # What is between links, each thing in it that is no text a blank
        text += child.content if child.type == "text" and not clicked else " "
        clicked = clicked and child.type != "link_close"
    page.prose.append(Piece(text, line))


def heading_text(token: Token) -> str:
    """A heading as it is read: no marks of Markdown, no pictures."""
    kept = [each for each in token.children or [] if each.type in ("text", "code_inline")]
    return "".join(each.content for each in kept).strip()


def slug(heading: str) -> str:
    """GitHub's anchor of a heading: small letters of any script, digits, `_` and `-`, a `-` for
    each blank; everything else is left out.
    """
    kept = (
        letter
        for letter in heading.lower()
        if letter in " -" or unicodedata.category(letter) in ("Nd", "Nl", "Pc") or is_letter(letter)
    )
    return "".join(kept).replace(" ", "-")


def is_letter(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LM"


def _unique(anchor: str, used: dict[str, int]) -> str:
    """The second of equal anchors ends in -1, the third in -2."""
    found = anchor
    while found in used:
        used[anchor] += 1
        found = f"{anchor}-{used[anchor]}"
    used[found] = 0
    return found


def width(line: str) -> int:
    """Of a line on a screen: a wide character, such as a Chinese one, takes two places."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in line)
