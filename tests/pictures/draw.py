"""The pictures of the pages: `cd tests && python -m pictures.draw [--runs FOLDER] [NAME ...]`.

Writes a light and a dark variant of each into .pictures/. Some show runs, which are done first, in
a temporary folder or in FOLDER, where those that are there already are taken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from settings import ROOT

from beit_exp.storage.files import write_atomically
from pictures import (
    architecture,
    attention,
    batch,
    layer_decay,
    processes,
    result,
    sweep,
    terminal,
)
from pictures.palette import PALETTES, Palette
from pictures.runs import Runs

FOLDER = ROOT / ".pictures"
Draw = Callable[[Palette, Runs], str | bytes]
PICTURES: dict[str, Draw] = {
    "terminal": terminal.draw,
    "result": result.draw,
    "architecture": lambda palette, _: architecture.draw(palette),
    "batch": lambda palette, _: batch.draw(palette),
    "processes": lambda palette, _: processes.draw(palette),
    "layer_decay": lambda palette, _: layer_decay.draw(palette),
    "attention": attention.draw,
    "sweep": sweep.draw,
}


def main(arguments: list[str]) -> None:
    """Draw the named pictures, or all."""
    parser = argparse.ArgumentParser(prog="python -m pictures.draw")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="keeps the runs")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(PICTURES):
        parser.error(f"no such picture: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs((options.runs or Path(folder)).absolute())
        for name in options.names or PICTURES:
            for palette in PALETTES:
                print(write(name, palette, PICTURES[name](palette, runs)))


def write(name: str, palette: Palette, content: str | bytes) -> Path:
    """A variant's file: SVG is text; WebP begins as every RIFF file."""
    ending = "webp" if content[:4] == b"RIFF" else "png" if isinstance(content, bytes) else "svg"
    path = FOLDER / f"{name}_{palette.name}.{ending}"
    write_atomically(path, content.encode() if isinstance(content, str) else content)
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
