"""Boxes, arrows and words as SVG; what does not fit into its box is an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from xml.sax.saxutils import escape

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from pictures.palette import SANS, Palette

PADDING = 8.0  # between the words of a box and its border
LINE = 1.32  # distance of lines, in letters' size
TEXT, SMALL = 15.0, 13.0
# DejaVu Sans, by which words are measured, is wider than any of the fonts that a reader may have
WIDEST = "DejaVu Sans"

Point = tuple[float, float]


@cache
def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a line is at the most."""
    font = FontProperties(family=WIDEST, weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().x1) if text else 0.0


@dataclass
class Diagram:
    """A drawing of that size, in the units that its words are measured in."""

    palette: Palette
    width: float
    height: float
    title: str
    parts: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = TEXT,
        anchor: str = "middle",
        bold: bool = False,
        color: str | None = None,
        room: float | None = None,
    ) -> None:
        """A line of words whose baseline is at `y`; `ValueError` if it is wider than its room."""
        wide = width_of(text, size, bold=bold)
        left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
        if left < 0 or left + wide > self.width or (room is not None and wide > room):
            raise ValueError(f"{self.title}: {text!r} is {wide:.0f} wide, at {left:.0f}")
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"{weight} '
            f'fill="{color or self.palette.text}">{escape(text)}</text>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        lines: Sequence[str] = (),
        *,
        tone: str = "grey",
        dashed: bool = False,
        size: float = SMALL,
    ) -> None:
        """A box with lines in its middle, the first of them bold."""
        color = self.palette.tones[tone]
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
            f'fill="{color.fill}" stroke="{color.line}" stroke-width="1.5"{dashes}/>'
        )
        sizes = [TEXT, *[size] * (len(lines) - 1)][: len(lines)]
        tall = sum(sizes) * LINE
        if tall > height:
            raise ValueError(f"{self.title}: {lines[0]!r} and its lines are {tall:.0f} high")
        top = y + (height - tall) / 2
        for number, (line, line_size) in enumerate(zip(lines, sizes, strict=True)):
            top += line_size * LINE
            self.text(
                x + width / 2,
                round(top - 0.36 * line_size, 1),
                line,
                size=line_size,
                bold=number == 0,
                color=None if number == 0 else self.palette.muted,
                room=width - PADDING,
            )

    def arrow(self, *points: Point, tone: str = "grey", dashed: bool = False) -> None:
        """A line through the points, with a head at the last."""
        color = self.palette.tones[tone].line
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        along, across = ((x1 - x0) / length, (y1 - y0) / length), (-(y1 - y0), x1 - x0)
        back = (x1 - 9 * along[0], y1 - 9 * along[1])
        side = (4.5 * across[0] / length, 4.5 * across[1] / length)
        line = " ".join(f"{x:g},{y:g}" for x, y in (*points[:-1], back))
        head = " ".join(
            f"{x:g},{y:g}"
            for x, y in (
                points[-1],
                (back[0] + side[0], back[1] + side[1]),
                (back[0] - side[0], back[1] - side[1]),
            )
        )
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.8"{dashes}/>'
            f'<polygon points="{head}" fill="{color}"/>'
        )

    def svg(self) -> str:
        """The file's text."""
        inner = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img" font-family="{SANS}">\n'
            f"<title>{escape(self.title)}</title>\n{inner}\n</svg>\n"
        )
