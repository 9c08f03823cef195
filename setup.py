"""What pyproject.toml cannot say of the package: the description that an index of packages shows.

An index has neither the other pages nor the pictures, and the code has no public address that
links could lead to: so links within the repository are shown as text, and pictures are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

PAGES = ("README.md", "CHANGELOG.md")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(
    r"(?:<picture>.*?</picture>|<img\b[^>]*>|!\[[^\]]*\]\([^)]*\))[ ]*\n?", re.DOTALL
)
TARGET = re.compile(r"^\[([^\]]+)\]: (?!https://)\S+\n", re.MULTILINE)  # of [text][name]
LINK = re.compile(r"\[([^\]]*)\]\((?!https://)[^)]*\)|<a href=\"(?!https://)[^\"]*\">(.*?)</a>")


def describe(folder: Path) -> str:
    """The pages that an index shows, without what would be dead there; code stays as it is."""
    texts = [(folder / name).read_text("utf-8") for name in PAGES if (folder / name).is_file()]
    parts = FENCE.split("\n".join(texts))
    names = {name for part in parts[::2] for name in TARGET.findall(part)}
    kept = [part if place % 2 else _unlinked(part, names) for place, part in enumerate(parts)]
    return "".join(kept)


def _unlinked(text: str, names: set[str]) -> str:
    """Without pictures, links within the repository, and links to the targets of those names."""
    text = TARGET.sub("", PICTURE.sub("", text))
    text = LINK.sub(lambda found: found[1] or found[2] or "", text)
    for name in names:
        text = re.sub(rf"\[([^\]]*)\]\[{re.escape(name)}\]", r"\1", text)
    return text


if __name__ == "__main__":
    setup(
        long_description=describe(Path(__file__).resolve().parent),
        long_description_content_type="text/markdown",
    )
