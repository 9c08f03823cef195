"""The figures, taken again: `cd tests && python -m attack.figures [COUNT]` prints them as a table.

Every line is measured then: COUNT mutants of each reader's files, every bit of a checkpoint's
header, and the attacks that were thought out by hand, which are tests. What did not hold is told on
standard error, and the exit status is 1.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from attack.parsers import PARSERS, Parser, is_same_checkpoint, refused
from attack.trial import try_mutants

TESTS = Path(__file__).parents[1]
COUNT = 3_000
BY_HAND = {  # attack -> the files of its tests, and the words that choose among them
    "weights by hand": (
        "weights/test_torch_file.py weights/test_mindspore_file.py weights/test_description.py "
        "weights/test_load.py weights/test_fit.py weights/test_source.py",
        "",
    ),
    "tar by hand": ("data/test_archives.py", "not links"),
    "val_labels by hand": ("data/test_label_list.py tasks/test_evaluate.py", "label"),
    "names and links": (
        "data/test_archives.py data/test_listing.py data/test_sources.py "
        "inference/test_received.py",
        "links or names or folder",
    ),
    "config.yaml by hand": ("attack/test_settings.py config/test_mapping.py", ""),
    "images: bombs, corrupt DDS and AVIF": (
        "attack/test_images.py data/test_transforms.py",
        "many_pixels or corrupt or no_image or truncated",
    ),
    "S3": ("storage/test_remote.py runs/test_object_storage.py", ""),
    "served model": (
        "inference/test_received.py inference/test_served.py runs/test_served_model.py",
        "",
    ),
    "kernels under ASAN, UBSAN and TSAN": ("model/operations/csrc/test_sanitizers.py", ""),
    "signals": (
        "train/test_stop.py hardware/test_process.py test_worker.py runs/test_kills.py "
        "runs/test_sweeps.py launch/test_at_once.py runs/test_several_processes.py",
        "signal or ctrl or stop or launcher or cleared_away",
    ),
    "full disk": ("runs/test_faults.py launch/test_job.py test_doctor.py", "full_disk"),
    "foreign user": ("runs/test_container_users.py", ""),
    "run directory": ("launch/test_run_directory.py launch/test_job.py", ""),
}


@dataclass
class Row:
    """A line of the table, and what did not hold."""

    attack: str
    tried: int
    faults: list[str]

    def __str__(self) -> str:
        return f"| {self.attack} | {self.tried:,} | {self.tried - len(self.faults):,} |"


def of_mutants(parser: Parser, count: int, folder: Path) -> Row:
    trial = try_mutants(parser, count, folder / parser.name)
    return Row(f"mutants: {parser.name}", trial.tried, trial.faults)


def of_header_bits(folder: Path) -> Row:
    """Every bit of a small checkpoint's header: refused, or the very same state and tensors."""
    parser = next(each for each in PARSERS if each.name == "checkpoint")
    (content,) = parser.seeds(folder)
    _, whole = refused(parser, content, folder)
    bits, faults = 8 * (8 + int.from_bytes(content[:8], "little")), []
    for bit in range(bits):
        wrong = bytearray(content)
        wrong[bit // 8] ^= 1 << bit % 8
        try:
            is_refused, found = refused(parser, bytes(wrong), folder)
        except Exception as error:
            faults.append(f"bit {bit}: {type(error).__name__}: {error}")
        else:
            is_held = is_refused or is_same_checkpoint(found, whole)
            faults += [] if is_held else [f"bit {bit}: read as another"]
    return Row("every bit of a checkpoint's header", bits, faults)


def by_hand(attack: str, folder: Path) -> Row:
    """What pytest counts; a test that was skipped has tried nothing."""
    files, words = BY_HAND[attack]
    report = folder / "report.xml"
    options = ["-q", "-m", "not recipes and not endurance", "-k", words, "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *files.split()],
        cwd=TESTS,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    tried, faults = 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        tried += case.find("skipped") is None
        wrong = [*case.iter("failure"), *case.iter("error")]
        faults += [f"{case.get('name')}: {each.get('message')}" for each in wrong[:1]]
    return Row(attack, tried, faults)


def main(arguments: list[str]) -> int:
    """Print the table, a line as soon as it is known; 0 if all of it held."""
    count = int(arguments[0]) if arguments else COUNT
    print("| attack | tried | held |\n|---|---|---|", flush=True)
    has_held = True
    with tempfile.TemporaryDirectory(prefix="beit_exp_figures_") as name:
        folder = Path(name)
        measures = [lambda each=each: of_mutants(each, count, folder) for each in PARSERS]
        measures.append(lambda: of_header_bits(folder))
        measures += [lambda attack=attack: by_hand(attack, folder) for attack in BY_HAND]
        for measure in measures:
            row = measure()
            print(row, flush=True)
            has_held = has_held and row.tried > 0 and not row.faults
            for fault in row.faults:
                print(f"{row.attack}: {fault}", file=sys.stderr, flush=True)
    return 0 if has_held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
