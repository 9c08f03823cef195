"""Charts in the colours of a variant."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from pictures.diagram import WIDEST
from pictures.palette import SANS, Palette

WIDTH = 8.3  # inches: at 100 points each, what GitHub shows
PNG_DPI = 170
COLORS = 128  # of a PNG without photographs: a third of the size, and nobody sees it


@contextmanager
def new_chart(palette: Palette, *, height: float, width: float = WIDTH) -> Iterator[Figure]:
    """A figure whose words, lines and grids have the colours of the variant."""
    with matplotlib.rc_context(style(palette)):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure


def style(palette: Palette) -> dict[str, Any]:
    """Settings of matplotlib."""
    words = dict.fromkeys(
        (
            "text.color",
            "axes.labelcolor",
            "axes.titlecolor",
            "xtick.labelcolor",
            "ytick.labelcolor",
        ),
        palette.text,
    )
    lines = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), palette.muted)
    return {
        **words,
        **lines,
        "grid.color": palette.grid,
        "axes.prop_cycle": matplotlib.cycler(color=palette.series),
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlesize": 12.5,
        "axes.titleweight": "bold",
        "font.family": WIDEST,
        "font.size": 11,
        "legend.frameon": False,
        "lines.linewidth": 2,
        "svg.fonttype": "none",
        "svg.hashsalt": "pictures",
    }


def shades(palette: Palette, tone: str = "blue") -> LinearSegmentedColormap:
    """From the page's colour to a tone's."""
    return LinearSegmentedColormap.from_list(
        tone, [palette.page, palette.tones[tone].fill, palette.tones[tone].line]
    )


def as_svg(figure: Figure, title: str) -> str:
    """The SVG of a figure, in the reader's own font."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Title": title})
    svg = written.getvalue()
    return svg[svg.index("<svg") :].replace(f"'{WIDEST}'", SANS.replace('"', "'"))


def as_png(figure: Figure) -> bytes:
    """The PNG of a figure, in few colours; its background is that of the page."""
    small = io.BytesIO()
    _pixels(figure).quantize(COLORS, method=Image.Quantize.FASTOCTREE).save(
        small, "png", optimize=True
    )
    return small.getvalue()


def as_webp(figure: Figure) -> bytes:
    """The WebP of a figure with photographs."""
    small = io.BytesIO()
    _pixels(figure).save(small, "webp", quality=82, method=6)
    return small.getvalue()


def _pixels(figure: Figure) -> Image.Image:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=PNG_DPI, transparent=True)
    return Image.open(written).convert("RGBA")


def show_image(part: Any, pixels: np.ndarray, title: str = "", **more: Any) -> None:
    """An image without axes."""
    part.imshow(pixels, **more)
    part.axis("off")
    if title:
        part.set_title(title, fontsize=10, fontweight="normal")
