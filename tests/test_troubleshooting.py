"""Every error that a user can mend is explained in TROUBLESHOOTING.md, or needs no explanation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
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


PAIRS = list(zip(rows(PAGE), rows(CHINESE_PAGE), strict=False))  # a row and its translation


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


@pytest.mark.parametrize("message", user_errors(), ids=lambda message: message.place)
def test_an_error_has_a_row_or_a_reason_why_not(message: Message) -> None:
    reasons = {reason for reason, part in PARTS if is_meant(message, part)}
    assert has_row(message) != bool(reasons), (message, reasons)
    assert len(reasons) <= 1


@pytest.mark.parametrize("quote", quotes())
def test_a_row_is_about_a_message_that_there_is(quote: str) -> None:
    assert [text for text in all_texts() if quote in text] != []


@pytest.mark.parametrize("quote", quotes())
def test_a_quote_is_of_few_messages(quote: str) -> None:
    """One that is part of many would take a new message for a known one."""
    assert len(quote) >= LEAST_LETTERS
    assert len([message for message in user_errors() if message.says(quote)]) <= MOST_MESSAGES


@pytest.mark.parametrize(("reason", "part"), PARTS)
def test_a_message_without_a_row_is_there(reason: str, part: str) -> None:
    assert [message for message in user_errors() if is_meant(message, part)] != [], reason


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[row[0] for row, _ in PAIRS])
def test_a_row_in_chinese_quotes_what_the_english_one_does(
    english: list[str], chinese: list[str]
) -> None:
    assert codes(chinese[0]) == codes(english[0])
    assert sorted(codes(" ".join(chinese))) == sorted(codes(" ".join(english)))
    assert len(chinese) == len(english)


def test_the_chinese_page_has_as_many_rows_as_the_english_one() -> None:
    assert len(rows(CHINESE_PAGE)) == len(rows(PAGE))
