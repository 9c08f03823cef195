"""The colours of all pictures, once for light pages and once for dark ones."""

from __future__ import annotations

from dataclasses import dataclass

# Whatever the reader's system writes with: a picture fetches no font
SANS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, 'SF Mono', Menlo, Consolas, 'Liberation Mono', monospace"


@dataclass(frozen=True)
class Tone:
    """A colour of lines and words, and a faint one to fill an area with."""

    line: str
    fill: str


@dataclass(frozen=True)
class Palette:
    """The colours of a variant; the background is that of the page."""

    name: str
    page: str
    text: str
    muted: str
    grid: str
    tones: dict[str, Tone]

    @property
    def series(self) -> list[str]:
        """Colours of the curves of a chart, in their order."""
        return [self.tones[name].line for name in ("blue", "orange", "green", "purple", "red")]


LIGHT = Palette(
    "light",
    page="#ffffff",
    text="#1f2328",
    muted="#59636e",
    grid="#d1d9e0",
    tones={
        "grey": Tone("#818b98", "#f6f8fa"),
        "blue": Tone("#0969da", "#ddf4ff"),
        "green": Tone("#1a7f37", "#dafbe1"),
        "orange": Tone("#bc4c00", "#fff1e5"),
        "purple": Tone("#8250df", "#fbefff"),
        "red": Tone("#cf222e", "#ffebe9"),
    },
)
DARK = Palette(
    "dark",
    page="#0d1117",
    text="#e6edf3",
    muted="#9198a1",
    grid="#3d444d",
    tones={
        "grey": Tone("#656c76", "#151b23"),
        "blue": Tone("#4493f8", "#121d2f"),
        "green": Tone("#3fb950", "#12261e"),
        "orange": Tone("#db6d28", "#2a1c14"),
        "purple": Tone("#ab7df8", "#211830"),
        "red": Tone("#f85149", "#2d1517"),
    },
)
PALETTES = (LIGHT, DARK)
