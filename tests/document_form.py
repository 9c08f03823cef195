"""The rules of the documents' form and links: each returns what breaks it, as `page:line: what`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import unquote, urlsplit

from documents import Page, Piece, width

FRONT = "README.md"
FRONT_LINES, PAGE_LINES, LINE_WIDTH = 150, 199, 120
LANGUAGES = {"bash", "text", "yaml", "json", "csv", "python"}
PICTURES = ".pictures/"
ONE_LINK = re.compile(r"[-*\s]*!?\[[^\]]*\]\([^)\s]*\)[.,;]?|\[[^\]]+\]: \S+|<https://\S+>")
ONE_TAG = re.compile(r"\s*<(?:img|source)\b[^>]*>\s*")
THIS_REPOSITORY = re.compile(r"beit[-_]exp\b", re.IGNORECASE)


def lengths(page: Page) -> Iterator[str]:
    """Pages and lines that are too long."""
    lines = page.text.splitlines()
    most = FRONT_LINES if page.name == FRONT else PAGE_LINES
    if len(lines) > most:
        yield f"{page.name}: {len(lines)} lines, at most {most}"
    for number, line in enumerate(lines, start=1):
        is_free = number in page.free_lines or ONE_LINK.fullmatch(line) or ONE_TAG.fullmatch(line)
        if width(line) > LINE_WIDTH and (page.name == FRONT or not is_free):
            yield f"{page.name}:{number}: {width(line)} characters, at most {LINE_WIDTH}"


def languages(page: Page) -> Iterator[str]:
    """Blocks that do not say what they are written in."""
    for block in page.blocks:
        if block.language not in LANGUAGES:
            known = ", ".join(sorted(LANGUAGES))
            yield f"{page.name}:{block.line}: a block of {block.language or 'nothing'}, not {known}"


def dead_links(pages: Mapping[str, Page], files: Collection[str]) -> Iterator[str]:
    """Links to pages, files and headings that are not there, and addresses that are none."""
    folders = folders_of(files)
    for page in pages.values():
        for link in page.links:
            if complaint := _dead(page, link.text, pages, files, folders):
                yield f"{page.name}:{link.line}: {link.text}: {complaint}"
        for text in page.prose:
            if found := re.search(r"\bhttp://\S+|\]\[[^\]]*\]|\]\([^)]*\)", text.text):
                yield f"{page.name}:{text.line}: {found[0]}: no link, as it is written"


def _dead(
    page: Page,
    target: str,
    pages: Mapping[str, Page],
    files: Collection[str],
    folders: Collection[str],
) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE):
        return wrong_address(target)
    if target.startswith("/"):
        return "begins at the root of a disk or a server; name it from this page on"
    path, _, anchor = target.partition("#")
    place = resolved(page, path) if path else page.name
    if place not in files and place not in folders:
        return "is not there"
    if not anchor:
        return ""
    held = pages.get(place) or pages.get(posixpath.join(place, FRONT))
    if held is None:
        return "an anchor of something that is no page"
    return "" if unquote(anchor) in held.anchors else f"no such heading in {held.name}"


def wrong_address(address: str) -> str:
    """What is wrong with a link to elsewhere, or nothing."""
    if THIS_REPOSITORY.search(address):
        return "leads to this repository; name the file from this page on"
    parts = urlsplit(address)
    if parts.scheme != "https":
        return "is not https"
    is_host = re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)
    is_whole = re.search(r"[\s<>\"'`|\\^{}]|[.,;:]$", address) is None
    return "" if is_host and is_whole else "is no address"


def resolved(page: Page, path: str) -> str:
    """A path on a page, from the root on."""
    return posixpath.normpath(posixpath.join(page.folder, unquote(path)))


def folders_of(files: Collection[str]) -> set[str]:
    parents = {posixpath.dirname(name) for name in files}
    every = {"/".join(parent.split("/")[:n]) for parent in parents for n in range(1, 9)}
    return (every | {"."}) - {""}


def dead_pictures(pages: Mapping[str, Page], files: Collection[str]) -> Iterator[str]:
    """Pictures that are not there, that nobody who is blind hears of, or that no page shows."""
    shown = set()
    for page in pages.values():
        for picture in page.pictures:
            place = resolved(page, picture.text)
            shown.add(place)
            if place not in files:
                yield f"{page.name}:{picture.line}: {picture.text}: no such picture"
            if not picture.label:
                yield f"{page.name}:{picture.line}: {picture.text}: says nothing in words"
    for name in sorted(files):
        if name.startswith(PICTURES) and name not in shown:
            yield f"{name}: shown by no page"


def unreached(pages: Mapping[str, Page]) -> Iterator[str]:
    """Pages that nobody finds who begins at README.md."""
    found, ahead = set(), [FRONT]
    while ahead:
        name = ahead.pop()
        if name in pages and name not in found:
            found.add(name)
            ahead += [place for link in pages[name].links for place in pages_at(pages[name], link)]
    yield from (f"{name}: no link leads here from {FRONT}" for name in sorted({*pages} - found))


def pages_at(page: Page, link: Piece) -> list[str]:
    """The pages that a link may show: a folder's is its README.md."""
    path = link.text.partition("#")[0]
    if not path or ":" in path:
        return []
    place = resolved(page, path)
    return [place, posixpath.join(place, FRONT).removeprefix("./")]


def untranslated(pages: Mapping[str, Page]) -> Iterator[str]:
    """Where a page in Chinese has other headings or pictures than the English one."""
    for page in pages.values():
        if not page.is_translation:
            continue
        other = pages.get(page.name.removesuffix("_CN.md") + ".md")
        if other is None:
            yield f"{page.name}: a translation of nothing"
            continue
        ours, theirs = ([level for level, _ in each.headings] for each in (page, other))
        if ours != theirs:
            yield f"{page.name}: levels of headings {ours}, in {other.name} {theirs}"
        mine, its = ({resolved(each, one.text) for one in each.pictures} for each in (page, other))
        if mine != its:
            yield f"{page.name}: only one of it and {other.name} shows {sorted(mine ^ its)}"
