"""The page of a report as HTML that needs no other file: for a desk, a phone, the dark."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --quiet: #5c6670; --line: #d8dee4;
  --back: #fff; --best: #e7f5ea; --bar: #6ea8dc; --link: #0b63b5 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --quiet: #a3adb7; --line: #3a424a;
  --back: #15191d; --best: #1d3a26; --bar: #3f7cb5; --link: #7db8f0 } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 75rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem }
a { color: var(--link) } nav { margin: .8rem 0 } nav a { margin-right: 1rem; white-space: nowrap }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .8rem 0 }
dt { color: var(--quiet) } dd { margin: 0 }
p.caption, figcaption { color: var(--quiet); font-size: .9rem; max-width: 50rem; margin: .3rem 0 }
figure { margin: 0 }
.scroll { overflow-x: auto; max-width: 100% }
table { border-collapse: collapse; font-size: .92rem }
td, th { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; vertical-align: top }
td.long { white-space: normal; min-width: 18rem; max-width: 30rem }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
tr.best { background: var(--best) }
td.bar { min-width: 8rem } td.bar i { display: block; height: .9rem; margin-top: .3rem;
  border-radius: 3px; background: var(--bar) }
img { display: block; max-width: 100%; height: auto; background: #fff; padding: .4rem;
  border: 1px solid var(--line); border-radius: 10px }
@media (max-width: 50rem) { img.wide { max-width: none; width: 52rem } }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem }
  td, th { padding: .3rem .5rem } }
"""
LONG_TEXT = 40  # letters; what is longer is broken into lines
WIDE = 900  # pixels; so wide a picture is scrolled on a phone, where it would be too small to read


class Section(NamedTuple):
    """A part of the page under its heading, with what to know for reading it."""

    anchor: str
    title: str
    caption: str
    content: str  # HTML


def page(title: str, summary: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page: title, a summary of (name, HTML) pairs, links to the sections, the sections."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    )
    facts = "".join(f"<dt>{html.escape(name)}</dt><dd>{text}</dd>" for name, text in summary)
    links = "".join(f'<a href="#{part.anchor}">{html.escape(part.title)}</a>' for part in sections)
    body = "".join(map(_section, sections))
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>'
        f"<dl>{facts}</dl><nav>{links}</nav><main>{body}</main></body></html>"
    )


def _section(part: Section) -> str:
    caption = f'<p class="caption">{html.escape(part.caption)}</p>' if part.caption else ""
    heading = f"<h2>{html.escape(part.title)}</h2>"
    return f'<section id="{part.anchor}">{heading}{caption}{part.content}</section>'


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    bars: int | None = None,
    has_best: bool = False,
) -> str:
    """A table that scrolls sideways where it is too wide; numbers stand to the right.

    After column `bars`, percentages, comes a bar of each; with `has_best` the first row stands out.
    """
    numeric = [
        any(isinstance(row[place], int | float) for row in rows) for place in range(len(header))
    ]
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for place, value in enumerate(row):
            text = html.escape(cell(value))
            kind = ' class="long"' if len(text) > LONG_TEXT else ""
            if isinstance(value, int | float) or value is None:
                kind = ' class="number"'
            cells.append(f"<td{kind}>{text}</td>")
            if place == bars:
                share = value if isinstance(value, int | float) else 0
                cells.append(f'<td class="bar"><i style="width:{share:.1f}%"></i></td>')
        best = ' class="best"' if has_best and number == 0 else ""
        lines.append(f"<tr{best}>{''.join(cells)}</tr>")
    heads = "".join(
        f"<th{' class=number' if numeric[place] else ''}>{html.escape(name)}</th>"
        + ("<th></th>" if place == bars else "")
        for place, name in enumerate(header)
    )
    return f'<div class="scroll"><table><tr>{heads}</tr>{"".join(lines)}</table></div>'


def picture(title: str, png: bytes) -> str:
    """A PNG picture inside the page itself."""
    width = int.from_bytes(png[16:20], "big")  # of the IHDR chunk
    kind = ' class="wide"' if width > WIDE else ""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    alt = html.escape(title, quote=True)
    return f'<figure class="scroll"><img{kind} alt="{alt}" src="{source}"></figure>'


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) >= 1 else f"{value:.6g}"
