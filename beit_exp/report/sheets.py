"""Sheets of pictures side by side, as PNG files.

By Pillow alone, in a tenth of the time that plots of them take.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from beit_exp.storage.files import replacing

COLUMNS = 8
CELL = 160  # pixels of a picture's longer side, at most
GAP = 8
LINE = 20  # pixels of a line of text
FONT_SIZE = 15
TITLE_LINES = 2  # at most; what is longer is cut
BATCH_SHOWN = 32
MIXED_SHARE = 0.005  # the smallest share of a second class that is named


def draw_batch(
    images: np.ndarray, *, titles: Sequence[str], mean: list[float], std: list[float], path: Path
) -> None:
    """(B, 3, S, S) normalised images, as the network sees them, each under its title."""
    pixels = images[:BATCH_SHOWN].transpose(0, 2, 3, 1) * np.array(std) + np.array(mean)
    draw_sheet(
        [
            Image.fromarray(picture)
            for picture in (255 * np.clip(pixels, 0, 1)).round().astype(np.uint8)
        ],
        path,
        titles=titles[:BATCH_SHOWN],
    )


def target_titles(targets_BK: np.ndarray, classes: Sequence[str], *, smoothing: float) -> list[str]:
    """The class of each image; of a mixed one the two largest with their shares, without what
    label smoothing gave to every class.
    """
    shares_BK = (targets_BK - smoothing / len(classes)) / max(1 - smoothing, 1e-6)
    titles = []
    for shares in shares_BK:
        first, *second = np.argsort(-shares, kind="stable")[:2]
        if second and shares[second[0]] > MIXED_SHARE:
            parts = [f"{classes[n]}: {100 * shares[n]:.0f} %" for n in (first, second[0])]
            titles.append(", ".join(parts))
        else:
            titles.append(classes[first])
    return titles


def multi_label_titles(
    targets_BK: np.ndarray, classes: Sequence[str], *, smoothing: float
) -> list[str]:
    """All classes of each image, those of a mixed one with their shares, without smoothing."""
    shares_BK = (targets_BK - smoothing / 2) / max(1 - smoothing, 1e-6)
    titles = []
    for shares in shares_BK:
        parts = [
            classes[n] if shares[n] > 1 - MIXED_SHARE else f"{classes[n]}: {100 * shares[n]:.0f} %"
            for n in np.flatnonzero(shares > MIXED_SHARE)
        ]
        titles.append(", ".join(parts) or "no label")
    return titles


def draw_sheet(
    images: list[Image.Image], path: Path, *, titles: Sequence[str] = (), heading: str = ""
) -> None:
    """Pictures in rows, each under its title, all under a heading."""
    rows = -(-len(images) // COLUMNS)
    font = ImageFont.load_default(FONT_SIZE)
    texts = [wrapped(title, font) for title in titles]
    line = LINE * max((len(text) for text in texts), default=0)
    line += 4 if titles else 0
    top = LINE + GAP if heading else 0
    size = GAP + COLUMNS * (CELL + GAP), top + GAP + rows * (CELL + line + GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), heading, fill="black", font=font)
    for number, image in enumerate(images):
        row, column = divmod(number, COLUMNS)
        left, upper = GAP + column * (CELL + GAP), top + GAP + row * (CELL + line + GAP)
        for place, text in enumerate(texts[number] if texts else ()):
            pen.text((left, upper + place * LINE), text, fill="black", font=font)
        picture = fitted(image)
        sheet.paste(
            picture,
            (left + (CELL - picture.width) // 2, upper + line + (CELL - picture.height) // 2),
        )
    with replacing(path) as temporary:
        sheet.save(temporary, format="png")


def wrapped(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """A title in lines as wide as a cell, broken after commas; what does not fit ends in dots."""
    lines: list[str] = []
    for part in title.replace(", ", ",\n").split("\n"):
        joined = f"{lines[-1]} {part}" if lines else part
        if lines and (font.getlength(joined) <= CELL or len(lines) == TITLE_LINES):
            lines[-1] = joined
        else:
            lines.append(part)
    return [shortened(line, font) for line in lines]


def shortened(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A line cut in its middle to the width of a cell: its end, a probability, stays."""
    cut = line
    while font.getlength(cut) > CELL:
        line = line[: len(line) // 2] + line[len(line) // 2 + 1 :]
        cut = f"{line[: len(line) // 2]}...{line[len(line) // 2 :]}"
    return cut


def fitted(image: Image.Image) -> Image.Image:
    """An image reduced to a cell, or enlarged a whole number of times as long as it fits."""
    factor = CELL // max(image.size)
    if factor == 0:
        return ImageOps.contain(image, (CELL, CELL))
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
