"""What `python -m beit_exp.doctor --settings` says: settings in words, as wide as the terminal."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from beit_exp.config.complaints import unknown_key
from beit_exp.config.schema import known_names
from beit_exp.errors import UserError
from beit_exp.hardware.terminal import complain, show
from beit_exp.launch.composition import CONF
from beit_exp.launch.described import ROOT, Group, Setting, describe_groups, pick
from beit_exp.launch.settings_pages import write_pages

WIDEST = 120  # longer lines are hard to read
LEAST_ROOM = 40  # for a meaning beside its setting


def main(name: str, *, is_writing: bool) -> int:
    """Print what settings mean, or write their pages; exit status 2: there is none of that name."""
    try:
        if is_writing:
            show("\n".join(map(str, write_pages())) or "all pages are as they should be")
        else:
            show(settings_text(name, width=shutil.get_terminal_size().columns))
    except UserError as error:
        complain(error)
        return error.exit_status
    return 0


def settings_text(name: str, *, width: int, conf: Path = CONF) -> str:
    """Of a group, a setting, or all that begin so; of an empty name all groups.

    `UserError` says which name may have been meant.
    """
    groups = describe_groups(conf)
    chosen = pick(groups, name) if name else groups
    if not chosen:
        raise UserError(unknown_key(name, [*known_names(), *(group.name for group in groups)]))
    is_alone = len(chosen) == 1
    texts = [_lines(group, min(width, WIDEST), is_alone=is_alone) for group in chosen]
    return "\n\n".join("\n".join(lines) for lines in texts)


def _lines(group: Group, width: int, *, is_alone: bool) -> list[str]:
    title = "settings of no group" if group.name == ROOT else f"{group.name}: {group.told}"
    lines = textwrap.wrap(title, width)
    if group.command and is_alone:
        lines += ["", f"  {group.command}"]
    if group.settings:
        rows = [(setting.key, _told(setting)) for setting in group.settings]
        lines += ["", *_table(rows, width)]
    if group.options:
        default = f"; unless said, {group.name}={group.default}" if group.default else ""
        lines += ["", *textwrap.wrap(f"options, chosen by {group.name}=NAME{default}", width)]
        if is_alone:
            lines += _table([(option.name, [option.told]) for option in group.options], width)
        else:
            names = ", ".join(option.name for option in group.options)
            lines += _wrapped(names, width, indent=2)
    return lines


def _told(setting: Setting) -> list[str]:
    default = "the option says it" if setting.default is None else f"default {setting.default}"
    return [setting.meaning, f"[{default}; {setting.allowed}]"]


def _table(rows: list[tuple[str, list[str]]], width: int) -> list[str]:
    """Names, and paragraphs beside them, or below where there is too little room."""
    column = max(len(name) for name, _ in rows) + 4
    if width - column < LEAST_ROOM:
        return [
            line
            for name, told in rows
            for line in [f"  {name}", *(each for text in told for each in _wrapped(text, width, 6))]
        ]
    lines = []
    for name, told in rows:
        beside = [each for text in told for each in _wrapped(text, width, column)]
        lines += [f"  {name}".ljust(column) + beside[0][column:], *beside[1:]]
    return lines


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
