"""The commands that the documents tell to type: found in blocks and in lines, and taken apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from documents import Block, Page

KEYWORDS = {"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "exec"}
CLOSINGS = {"fi", "done", "esac", "}", "for", "case", "..."}
HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?(.*?\n)(?:.*?\n)?\1(?=\n|$)", re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
VARIABLE = re.compile(r"""(\w+)=("[^"$]*"|'[^']*')\s*""")
SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
FLAG = re.compile(r"--?[A-Za-z].*", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command of one program, and the folder of the repository in which it is typed."""

    words: tuple[str, ...]
    folder: str = ""
    places: tuple[str, ...] = field(default=(), compare=False)  # page:line of each copy

    def __str__(self) -> str:
        return shlex.join(self.words)


def commands_of(page: Page) -> Iterator[Command]:
    """Every command of a page, as often as it stands there."""
    for text, line in typed(page):
        for command in split(text):
            yield Command(command.words, command.folder, (f"{page.name}:{line}",))


def typed(page: Page) -> Iterator[tuple[str, int]]:
    """What a page tells to type, and where: blocks of bash, lines of a screen behind `$`, and code
    in a line that begins with a program.
    """
    for block in page.blocks:
        if block.language == "bash":
            yield block.text, block.line
        if block.language == "text":
            yield from ((line, block.line) for line in on_screen(block))
    yield from ((each.text, each.line) for each in page.code if is_command(each.text))


def on_screen(block: Block) -> list[str]:
    """The commands of a screen, behind its `$`, but for those that are refused there."""
    from documented_launches import refusals

    refused = {command for command, _ in refusals(block)}
    typed = re.findall(r"^\$ (.*(?:\\\n.*)*)$", block.text, re.MULTILINE)
    return [command for command in typed if command not in refused]


def is_command(code: str) -> bool:
    """Whether code in a line of text is to be typed: a program with what it is told."""
    from documented_programs import PROGRAMS

    try:
        words = [word for word in shlex.split(code) if not ASSIGNMENT.fullmatch(word)]
    except ValueError:
        return False
    if len(words) < 2:
        return False
    is_name = re.fullmatch(r"[a-z][\w./-]*", words[0]) and not re.search(r"[:;] ", code)
    is_told = any(FLAG.fullmatch(word) for word in words[1:])
    return words[0] in PROGRAMS or bool(is_name and is_told)


@cache
def split(text: str) -> tuple[Command, ...]:
    """The commands of a text in bash; `ValueError` for quotes that do not close."""
    found: list[Command] = []
    folder = ""
    told: dict[str, str] = {}  # what a script gives a name to
    for line in logical_lines(text):
        if found_name := VARIABLE.fullmatch(line):
            told[found_name[1]] = found_name[2][1:-1]
        line = re.sub(r"\$(\w+)", lambda name: told.get(name[1], name[0]), line)
        for words in simple_commands(line):
            if words[0] == "cd" and len(words) == 2:
                folder = words[1] if words[1] != ".." else ""
            found += [Command(tuple(words), folder)]
            inner = [each for word in words for each in SUBSTITUTION.findall(word)]
            found += [command for each in inner for command in split(each)]
    return tuple(found)


def logical_lines(text: str) -> list[str]:
    """Lines as bash reads them: without comments and here-documents, joined where one goes on."""
    text = HEREDOC.sub(r"\2", text.removesuffix("\n") + "\n")
    lines, begun = [], ""
    for line in text.replace("\\\n", " ").splitlines():
        begun += (" " if begun else "") + without_comment(line)
        if re.search(r"(\||&&)\s*$", begun) or is_open(begun):
            continue
        lines.append(begun)
        begun = ""
    return [*lines, begun]


def without_comment(line: str) -> str:
    """A line up to the `#` that begins a comment: one outside of quotes, behind a blank."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and line[place - 1 : place] != "\\":
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place]
    return line


def is_open(text: str) -> bool:
    """Whether a quote is not closed yet."""
    try:
        shlex.split(text)
    except ValueError:
        return True
    return False


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each program's command in a line, without redirections and assignments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    is_target = False  # of a redirection
    for word in [*lexer, ";"]:
        if word[0] in "<>" or (word[0] == "&" and ">" in word):
            is_target = True
            if words and words[-1] in ("1", "2"):
                words.pop()
        elif is_target:
            is_target = False
        elif set(word) <= set("();|&"):
            if stripped := program_first(words):
                yield stripped
            words = []
        else:
            words.append(word)


def program_first(words: list[str]) -> list[str]:
    """Without keywords, and assignments before a program."""
    while words and (words[0] in KEYWORDS or ASSIGNMENT.fullmatch(words[0])):
        words = words[1:]
    return [] if not words or words[0] in CLOSINGS else words


def each_once(pages: Iterable[Page]) -> list[Command]:
    """Every command of some pages, once, with all places where it stands."""
    found: dict[Command, tuple[str, ...]] = {}
    for page in pages:
        for command in commands_of(page):
            found[command] = (*found.get(command, ()), *command.places)
    return [
        Command(command.words, command.folder, places)
        for command, places in sorted(found.items(), key=lambda item: str(item[0]))
    ]


def untranslated_commands(pages: Mapping[str, Page], only_english: Mapping[str, str]) -> list[str]:
    """Commands of one language alone, but for those that have a reason."""
    found = []
    for page in pages.values():
        other = pages.get(page.name.removesuffix("_CN.md") + ".md")
        if page.is_translation and other is not None:
            ours, theirs = ({str(each) for each in commands_of(one)} for one in (page, other))
            found += [f"{page.name}: not in {other.name}: {each}" for each in sorted(ours - theirs)]
            missing = sorted(theirs - ours - only_english.keys())
            found += [f"{page.name}: lacks {each}" for each in missing]
    return found
