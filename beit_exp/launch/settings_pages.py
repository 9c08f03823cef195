"""The pages `conf/<group>/README.md` and `conf/SETTINGS.md`, made from schema and comments."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path, PurePosixPath

from beit_exp.config.command_line import module_command
from beit_exp.launch.composition import CONF
from beit_exp.launch.described import ROOT, Group, Option, Setting, describe_groups
from beit_exp.storage.files import write_atomically

COMMAND = module_command("doctor", "--settings", "--write")
INDEX = "conf/SETTINGS.md"
WIDTH = 118
WRITTEN_BY_HAND = ("experiment",)
PAGE = re.compile(r"(?<![\w/])(?:conf|beit_exp)/[\w/]*[A-Z]+\.md")
# Words that are typed or read by programs: settings, values, paths, names of files and columns
CODE = re.compile(r".*[_=<*].*|.+/|val/.+|\w*\.(?:json|pth|csv|yaml)")


def write_pages(conf: Path = CONF) -> list[Path]:
    """Write the pages that are not what schema and comments say; returns those."""
    old = stale_pages(conf)
    for path, text in old.items():
        write_atomically(path, text.encode())
    return list(old)


def stale_pages(conf: Path = CONF) -> dict[Path, str]:
    """What each page should say that says something else."""
    pages = {conf.parent / place: text for place, text in make_pages(conf).items()}
    return {
        path: text
        for path, text in pages.items()
        if not path.exists() or path.read_text("utf-8") != text
    }


def make_pages(conf: Path = CONF) -> dict[str, str]:
    """Place in the clone -> text."""
    groups = describe_groups(conf)
    known = {setting.key for group in groups for setting in group.settings if "." in setting.key}
    own = [group for group in groups if group.options and group.name not in WRITTEN_BY_HAND]
    pages = {page_of(group): _group_page(group, known) for group in own}
    return pages | {INDEX: _index_page(groups, known)}


def page_of(group: Group) -> str:
    """Where a group's settings are explained."""
    return f"conf/{group.name}/README.md" if group.options else INDEX


def _head(*yaml_files: str) -> str:
    """Two comments: what made the page, and what to edit instead of it."""
    edited = " and ".join(yaml_files)
    return f"<!-- made by {COMMAND} -->\n<!-- edit {edited}, and beit_exp/config/schema.py -->"


def _group_page(group: Group, known: set[str]) -> str:
    page = page_of(group)
    lines = [
        _head("conf/config.yaml", f"conf/{group.name}/*.yaml"),
        f"# {'Settings' if group.settings else 'Options'} of `{group.name}`",
        "",
        *_paragraph(group, known, page),
        f"The same in a terminal: `{module_command('doctor', '--settings', group.name)}`.",
        f"See also {_link('conf/README.md', page, 'how settings are chosen')} and "
        f"{_link(INDEX, page, 'all settings')}.",
    ]
    if group.settings:
        lines += ["", "## Settings", "", *_settings_table(group.settings, known, page)]
    default = f" Unless another is chosen, it is `{group.default}`." if group.default else ""
    lines += ["", "## Options", ""]
    lines += [f"An option is chosen by `{group.name}=NAME`.{default}", ""]
    return "\n".join([*lines, *_options_table(group.options, known, page), ""])


def _index_page(groups: list[Group], known: set[str]) -> str:
    lines = [
        _head("conf/config.yaml"),
        "# All settings",
        "",
        "Each group of settings has a page; the settings of single tasks, and those of no group, "
        "stand below.",
        "",
        "```bash",
        module_command("doctor", "--settings", "optimizer.layer_decay"),
        "```",
        "",
        "explains one setting in a terminal; without a name, all of them. See also "
        f"{_link('conf/README.md', INDEX, 'how settings are chosen')}.",
        "",
        "| group | settings | options | what it settles |",
        "|---|---|---|---|",
    ]
    rest = [group for group in groups if not group.options]
    for group in groups:
        if group.name == ROOT:
            continue
        place = f"#{group.name}" if group in rest else _relative(page_of(group), INDEX)
        cells = [
            f"[`{group.name}`]({place})",
            str(len(group.settings) or ""),
            str(len(group.options) or ""),
            _formatted(group.told, known, INDEX),
        ]
        lines.append(_row(cells))
    for group in rest:
        title = "Of no group" if group.name == ROOT else f"`{group.name}`"
        lines += ["", f"## {title}", ""]
        if group.name != ROOT:
            lines += _paragraph(group, known, INDEX)
        lines += _settings_table(group.settings, known, INDEX)
    return "\n".join([*lines, ""])


def _paragraph(group: Group, known: set[str], page: str) -> list[str]:
    """What a group settles, and its example."""
    told = textwrap.wrap(
        _formatted(group.told, known, page), WIDTH, break_long_words=False, break_on_hyphens=False
    )
    return [*told, "", *(["```bash", group.command, "```", ""] if group.command else [])]


def _settings_table(settings: list[Setting], known: set[str], page: str) -> list[str]:
    lines = ["| setting | allowed | default | meaning |", "|---|---|---|---|"]
    for setting in settings:
        default = "by the option" if setting.default is None else f"`{setting.default}`"
        meaning = _sentence(_formatted(setting.meaning, known, page))
        lines.append(_row([f"`{setting.key}`", setting.allowed, default, meaning]))
    return lines


def _options_table(options: list[Option], known: set[str], page: str) -> list[str]:
    lines = ["| option | what it is | what it sets |", "|---|---|---|"]
    for option in options:
        sets = [
            f"as `{value}`" if key == "as" else f"`{key}={value}`" for key, value in option.values
        ]
        told = _sentence(_formatted(option.told, known, page))
        lines.append(_row([f"`{option.name}`", told, ", ".join(sets)]))
    return lines


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a word to type or with one that a colon follows."""
    first = text.partition(" ")[0]
    return text if first.startswith("`") or first.endswith(":") else text[:1].upper() + text[1:]


def _formatted(text: str, known: set[str], page: str) -> str:
    """A comment as Markdown: words to type as code, pages as links."""
    parts = text.split("`")
    for index in range(0, len(parts), 2):
        parts[index] = " ".join(_word(word, known, page) for word in parts[index].split(" "))
    return "`".join(parts)


def _word(word: str, known: set[str], page: str) -> str:
    if found := PAGE.search(word):
        return word.replace(found[0], _link(found[0], page, found[0]))
    core = word.lstrip("(").rstrip("),;:.")
    is_code = core in known or CODE.fullmatch(core)
    return word.replace(core, f"`{core}`", 1) if is_code else word


def _link(target: str, page: str, text: str) -> str:
    return f"[{text}]({_relative(target, page)})"


def _relative(target: str, page: str) -> str:
    return os.path.relpath(target, PurePosixPath(page).parent)
