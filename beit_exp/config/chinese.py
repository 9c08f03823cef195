"""The messages of the first minutes in Chinese, each line below the English one.

The English line stays, for it is what can be searched for and sent to the maintainers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TextIO

LANGUAGES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set, as for gettext
SETTING = re.compile(r"(?P<key>[\w./]+) = (?P<value>.+?): (?P<law>(?:must|one|plus|belongs) .+)")
HERE = re.compile(r"(?P<law>.+) \(here (?P<others>.+)\)")
HINT = re.compile(r"(?P<law>.+)\. Did you mean (?P<near>.+)\?")
BETWEEN = re.compile(r"(?<=[^\x00-\x7f]) (?=[^\x00-\x7f])")  # a space between Chinese words
GAP = re.compile(r"\\{(\w+)\\}")


def bilingual(message: str, stream: TextIO | None) -> str:
    """A message as `stream` is to show it: with Chinese where that is read and can be shown."""
    if not reads_chinese(os.environ) or not _shows_chinese(stream):
        return message
    lines = []
    for line in message.split("\n"):
        chinese = translated(line.strip())
        indent = line[: len(line) - len(line.lstrip())]
        lines += [line] if chinese is None else [line, f"{indent}{chinese}"]
    return "\n".join(lines)


def reads_chinese(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for Chinese before any other language."""
    asked = next((environment[name] for name in LANGUAGES if environment.get(name)), "")
    return asked.lower().startswith("zh")


def _shows_chinese(stream: TextIO | None) -> bool:
    try:
        "中".encode((stream and stream.encoding) or "ascii")  # no stream: it was closed
    except UnicodeEncodeError:
        return False
    return True


def translated(line: str) -> str | None:
    """A line of a message in Chinese; None for one that the table does not know."""
    from beit_exp.config.chinese_words import MESSAGES  # for those who read it

    for english, chinese in MESSAGES.items():
        if found := _pattern(english).fullmatch(line):
            parts = found.groupdict()
            if "law" in parts:
                parts["law"] = _law(f"must be {parts['law']}")
            return chinese.format(**parts)
    if found := SETTING.fullmatch(line):
        return f"{found['key']} = {found['value']}：{_law(found['law'])}"
    return None


def _law(law: str) -> str:
    """What a setting must be, as the rules or the types say it."""
    from beit_exp.config.chinese_words import LAWS, OTHER_LAW, TYPES

    if found := HERE.fullmatch(law):
        return f"{_law(found['law'])}（此处 {found['others']}）"
    if found := HINT.fullmatch(law):
        return f"{_law(found['law'])}。是否想写 {found['near']}？"
    law = law.removesuffix(".")
    for english, chinese in LAWS.items():
        if found := _pattern(english).fullmatch(law):
            return chinese.format(**found.groupdict())
    if not re.fullmatch(f"must be {_TYPE}(?: or {_TYPE})*", law):
        return OTHER_LAW
    told = law.removeprefix("must be ")
    for english, chinese in TYPES.items():
        told = told.replace(english, chinese)
    return BETWEEN.sub("", f"须为 {told}")


_LIMIT = r"(?: (?:>=?|<=?) \S+)(?: and <=? \S+)?"
_ITEM = rf"(?:(?:a whole number|a number){_LIMIT}?|true or false|text|null|auto|all|balanced)"
_CHOICE = r"one of \S+(?:, \S+)*"
_LIST = rf"a list(?: of (?:at least )?\d+)?, each (?:{_ITEM}|{_CHOICE})"
_TYPE = rf"(?:{_ITEM}|{_CHOICE}|{_LIST}|a mapping|a group of settings)"


def _pattern(template: str) -> re.Pattern[str]:
    """What matches a template: any text in each of its gaps."""
    return re.compile(GAP.sub(r"(?P<\1>.+?)", re.escape(template)), re.DOTALL)
