"""Mutated files against every reader of foreign bytes: a value, or a `UserError`."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attack.mutation import mutate
from attack.parsers import PARSERS, Parser, refused

FAST, SLOW = 60, 1_000  # mutants of a parser
MAX_S, MAX_BYTES = 5.0, 1 << 30

parsers = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)


def attack(parser: Parser, count: int, folder: Path) -> int:
    """Try so many mutants; returns how many were refused."""
    folder.mkdir(exist_ok=True)
    seeds = parser.seeds(folder)
    whole = [refused(parser, content, folder)[1] for content in seeds]
    rng, found = random.Random(0), 0
    for _ in range(count):
        number = rng.randrange(len(seeds))
        content = mutate(seeds[number], rng)
        began = time.monotonic()
        is_refused, value = refused(parser, content, folder)
        assert time.monotonic() - began < MAX_S
        assert is_refused or parser.check(value, whole[number]), content
        found += is_refused
    return found


@parsers
def test_whole_files_are_read(parser: Parser, tmp_path: Path) -> None:
    for content in parser.seeds(tmp_path):
        assert not refused(parser, content, tmp_path)[0]


@parsers
def test_a_wrong_file_is_read_or_refused(parser: Parser, tmp_path: Path) -> None:
    assert attack(parser, FAST, tmp_path) > 0


@pytest.mark.slow
@parsers
def test_thousands_of_wrong_files_are_read_or_refused(parser: Parser, tmp_path: Path) -> None:
    """In a process of its own, which a signal may end, and whose memory is measured."""
    done = subprocess.run(
        [sys.executable, "-m", "attack.test_parsers", parser.name, str(SLOW), str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


def main(name: str, count: int, folder: Path) -> None:
    """Print what became of the mutants of one parser."""
    parser = next(each for each in PARSERS if each.name == name)
    attack(parser, FAST, folder)  # so that libraries are there
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = attack(parser, count, folder)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < MAX_BYTES, grown
    print(f"{name}: {count} tried, all held: {found} refused; {grown >> 20} MB more memory")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
