"""Every error that a user can mend is explained in TROUBLESHOOTING.md, or needs no explanation."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from error_messages import Message, all_texts, user_errors
from settings import ROOT

PAGE = ROOT / "TROUBLESHOOTING.md"
CHINESE_PAGE = ROOT / "TROUBLESHOOTING_CN.md"
LEAST_LETTERS, MOST_MESSAGES = 9, 5  # of a quote, and that it may be part of
FREE = "## What is no message"  # from there on the first cells quote no messages

# Reason -> a part of each message that needs no row for it
WITHOUT_ROW = {
    "it passes on what another error says": (
        "hardware/meeting.py: text",
        "launch/overrides.py: message",
        "launch/composition.py: in_words(error)",
        "launch/composition.py: str(error).splitlines()[0]",
        "hardware/peer.py: str(message['refused'])",
        "report/__main__.py: '\\n'.join(failures)",
        "with it, of the tokenizer's run, ",
    ),
    "it names the setting, its value and what that must be: one row is for all of these": (
        ": must be a whole number, for this is one process of several",
        ": must be a whole number from 1024 to 65535",
    ),
    "it names the file, the line and what is wrong there": (
        "data/label_table.py: f'dataset.labels: {table}, line {number} {what}'",
    ),
    "who sees it wrote the command that it is about": (
        "MA_NUM_HOSTS = ",
        ": of several tasks, ours must be called worker",
        "benchmark.against = ",
    ),
    "it is of a dry run or a self-check, for who works on this project, and says what to do": (
        ": must be ascend for a dry run on it",
        ": a dry run cannot do it",
        "but this shell does not know it: source its set_env.sh",
        "a dry run without CANN is known on ",
        "a dry run without CANN makes libraries with ",
        "a dry run needs MindSpore 2.10",
        "a dry run knows MindSpore ",
        " for a dry run:\n",
        ": must be 1: the self-check is of one server",
    ),
}
PARTS = [(reason, part) for reason, parts in WITHOUT_ROW.items() for part in parts]


def codes(text: str) -> list[str]:
    """What a text quotes: messages, settings and commands."""
    return re.findall(r"`([^`]+)`", text)


def rows(page: Path) -> list[list[str]]:
    """The cells of each row of a page's tables."""
    lines = page.read_text().splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


@cache
def quotes() -> list[str]:
    """What the first cells of the tables of messages quote."""
    tables = PAGE.read_text().partition(FREE)[0]
    lines = [line for line in tables.splitlines() if line.startswith("| `")]
    return [quote for row in lines for quote in codes(row.split(" | ")[0])]


def is_meant(message: Message, part: str) -> bool:
    """Whether a part on the list above is of a message: of its text, or its module and code."""
    return message.says(part) or f"{message.module}: {message.source}" == part


def has_row(message: Message) -> bool:
    return any(message.says(quote) for quote in quotes())


def test_there_are_messages_and_rows() -> None:
    assert len(user_errors()) > 150
    assert len(quotes()) > 100


def test_every_error_has_a_row_or_a_reason_why_not() -> None:
    untold = []
    for message in user_errors():
        reasons = {reason for reason, part in PARTS if is_meant(message, part)}
        if has_row(message) + len(reasons) != 1:
            untold.append((message.place, message.source, reasons))
    assert not untold, "\n".join(map(str, untold))


def test_every_row_is_about_a_message_that_there_is() -> None:
    texts = all_texts()
    assert [quote for quote in quotes() if not any(quote in text for text in texts)] == []


def test_a_quote_is_of_few_messages() -> None:
    """One that is part of many would take a new message for a known one."""
    meant = {quote: sum(message.says(quote) for message in user_errors()) for quote in quotes()}
    assert [quote for quote in meant if len(quote) < LEAST_LETTERS] == []
    assert {quote: count for quote, count in meant.items() if count > MOST_MESSAGES} == {}


def test_every_message_without_a_row_is_there() -> None:
    messages = user_errors()
    gone = [part for _, part in PARTS if not any(is_meant(each, part) for each in messages)]
    assert gone == []


def test_a_row_in_chinese_quotes_what_the_english_one_does() -> None:
    unlike = [
        (english[0], chinese[0])
        for english, chinese in zip(rows(PAGE), rows(CHINESE_PAGE), strict=True)
        if codes(chinese[0]) != codes(english[0])
        or sorted(codes(" ".join(chinese))) != sorted(codes(" ".join(english)))
        or len(chinese) != len(english)
    ]
    assert not unlike, "\n".join(map(str, unlike))
