"""Mutants against one reader, in a process of its own that the next mutant outlives.

`cd tests && python -m attack.trial PARSER FIRST LAST FOLDER` prints a line for each that did not
hold and, at the end, how many were refused; `try_mutants` calls it until all have been tried.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from attack.mutation import mutate
from attack.parsers import PARSERS, Parser, refused

MAX_S, MAX_BYTES = 5.0, 1 << 30  # of a file, and of memory besides what the libraries take
JOURNAL = "number"  # the file that tells which mutant is being tried
CHILD = [sys.executable, "-m", "attack.trial"]
AGAIN = 75  # the exit status of a process that has taken too much memory to go on


@dataclass
class Trial:
    """What became of the mutants of one reader."""

    tried: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)  # of those that did not hold


class Attack:
    """A reader with whole files to begin from, and what they are read as."""

    def __init__(self, parser: Parser, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.parser, self.folder = parser, folder
        self.seeds = parser.seeds(folder)
        self.whole = [refused(parser, content, folder)[1] for content in self.seeds]

    def mutant(self, number: int) -> tuple[int, bytes]:
        """The original's place, and the changed file: the same each time."""
        rng = random.Random(number)
        place = rng.randrange(len(self.seeds))
        return place, mutate(self.seeds[place], rng)

    def try_one(self, number: int) -> bool:
        """Whether a mutant is refused; raises whatever shows that it did not hold."""
        place, content = self.mutant(number)
        is_refused, value = refused(self.parser, content, self.folder)
        assert is_refused or self.parser.check(value, self.whole[place]), "a wrong value"
        return is_refused


def try_mutants(parser: Parser, count: int, folder: Path) -> Trial:
    """Try so many mutants, each in a process that nothing before it has ended."""
    folder.mkdir(exist_ok=True)
    trial = Trial()
    while trial.tried < count:
        (folder / JOURNAL).unlink(missing_ok=True)
        done = subprocess.run(
            [*CHILD, parser.name, str(trial.tried), str(count), str(folder)],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        for line in filter(lambda line: line.startswith("{"), done.stdout.splitlines()):
            found = json.loads(line)
            trial.refused += found.get("refused", 0)
            trial.faults += [found["fault"]] if "fault" in found else []
        if done.returncode not in (0, AGAIN) and not is_by_signal(done.returncode, folder):
            raise RuntimeError(done.stderr)
        last = int((folder / JOURNAL).read_text())
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
            why = f"more than {MAX_S} s" if name == "SIGALRM" else f"ended by {name}"
            trial.faults.append(f"mutant {last}: {why}")
        trial.tried = last + 1
    return trial


def is_by_signal(status: int, folder: Path) -> bool:
    """Whether a mutant ended its process: not if none was being tried yet."""
    return status < 0 and (folder / JOURNAL).exists()


def main(name: str, first: int, last: int, folder: Path) -> int:
    """Try the mutants from `first` to `last` - 1; the signal that ends a slow one is an alarm."""
    attack = Attack(next(each for each in PARSERS if each.name == name), folder)
    taken_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = 0
    for number in range(first, last):
        (folder / JOURNAL).write_text(str(number))
        signal.setitimer(signal.ITIMER_REAL, MAX_S)
        fault = ""
        try:
            found += attack.try_one(number)
        except BaseException as error:  # none but a UserError may come out of a reader
            fault = f"{type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - taken_kb) << 10
        if fault or grown > MAX_BYTES:
            tell(fault=f"mutant {number}: {fault or f'{grown >> 20} MB of memory'}")
        if grown > MAX_BYTES:
            tell(refused=found)
            return AGAIN
    tell(refused=found)
    return 0


def tell(**found: object) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
