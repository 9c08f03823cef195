"""A run of the quickstart in a terminal."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from pictures.palette import MONO, Palette
from pictures.runs import COLUMNS, TERMINAL_FILE, Runs

ERASED = "\r\x1b[2K"  # begins each state of the progress line
HOME = "/home/me/beit"  # shown in the place of the folder
BACKGROUND = {"light": "#f6f8fa", "dark": "#151b23"}
KEPT_EVALUATIONS = 2  # at the beginning, and as many at the end


def draw(palette: Palette, runs: Runs) -> str:
    """The SVG of what the run left on its terminal, shortened."""
    place = runs.quickstart()
    console = Console(record=True, width=COLUMNS, force_terminal=True, file=_Nowhere())
    prompt = Text.assemble(("$ ", "bold green"), ("python launch.py", "bold"))
    console.print(prompt, soft_wrap=True)
    for line in shortened(screen_lines((place / TERMINAL_FILE).read_bytes().decode()), place):
        console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(
        title="", theme=theme(palette), code_format=code_format(palette), unique_id="terminal"
    )
    return re.sub(r' clip-path="[^"]*"', "", svg)  # no line is longer than the terminal


class _Nowhere:
    """A file of which nothing is kept."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def theme(palette: Palette) -> TerminalTheme:
    """A terminal in the colours of a variant."""
    tones = palette.tones
    names = ("red", "green", "orange", "blue", "purple", "blue")
    shades = [rgb(palette.grid), *(rgb(tones[name].line) for name in names), rgb(palette.text)]
    return TerminalTheme(rgb(BACKGROUND[palette.name]), rgb(palette.text), shades, shades)


def rgb(color: str) -> tuple[int, int, int]:
    """#rrggbb in numbers."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue


def screen_lines(written: str) -> list[str]:
    """What stood on the terminal in the end, and the progress line as it was before it vanished."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        states = line.split(ERASED)
        last = re.sub(r"\x1b\[\?25[lh]|\r|\x1b\[1A|\x1b\[2K", "", states[-1])
        lines.append(last.rstrip())
    return lines


def shortened(lines: list[str], place: Path) -> list[str]:
    """The lines without most of the evaluations, and with a short name for the folder."""
    epochs = [number for number, line in enumerate(lines) if re.match(r"epoch \d+/", line)]
    left_out = epochs[KEPT_EVALUATIONS:-KEPT_EVALUATIONS]
    kept = []
    for number, line in enumerate(lines):
        if number in left_out:
            kept += ["…"] if number == left_out[0] else []
            continue
        kept.append(line.replace(str(place), HOME))
    while kept and not kept[-1]:
        kept.pop()
    return [part for line in kept for part in as_wide_as_the_terminal(line)]


def as_wide_as_the_terminal(line: str) -> list[str]:
    """The lines that a terminal makes of one."""
    plain = Text.from_ansi(line).plain
    if len(plain) <= COLUMNS:
        return [line]
    return [plain[begin : begin + COLUMNS] for begin in range(0, len(plain), COLUMNS)]


def code_format(palette: Palette) -> str:
    """Rich's frame of a terminal without its buttons, its margins, and its fonts from elsewhere."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        "<title>The quickstart in a terminal</title>"
        f"<style>.{{unique_id}}-matrix {{{{ font-family: {MONO}; font-size: {{char_height}}px; "
        "line-height: {line_height}px }} {styles}</style>"
        f'<rect x="1" y="1" width="99.8%" height="99.5%" rx="10" fill="{BACKGROUND[palette.name]}" '
        f'stroke="{palette.grid}" stroke-width="2"/>'
        '<g transform="translate({terminal_x}, 24)">{backgrounds}'
        '<g class="{unique_id}-matrix">{matrix}</g></g></svg>\n'
    )
