"""One reader fuzzed along its branches: `cd tests && python -m attack.fuzz PARSER [FLAGS]`.

Needs atheris, which is no part of the tests. FLAGS are libFuzzer's, such as -max_total_time=600;
what breaks a reader is written to crash-* here, and `test_parsers.py` is where it belongs then.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["beit_exp", "pickletools", "tarfile", "yaml", "zipfile"]):
    from attack.parsers import PARSERS, refused

MAX_S, MAX_MB = 5, 1024  # of a file, and of memory besides what the libraries take


def main(name: str, flags: list[str]) -> None:
    """Begin from the whole files of a parser, and end with libFuzzer's exit status."""
    parser = next(each for each in PARSERS if each.name == name)
    folder = Path(tempfile.mkdtemp(prefix="beit_exp_fuzz_"))
    corpus, work = folder / "corpus", folder / "work"
    corpus.mkdir()
    work.mkdir()
    seeds = parser.seeds(work)
    for number, content in enumerate(seeds):
        (corpus / str(number)).write_bytes(content)
        refused(parser, content, work)
    taken_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    limits = [f"-timeout={MAX_S}", f"-rss_limit_mb={taken_mb + MAX_MB}", "-len_control=0"]
    largest = 4 * max(map(len, seeds))
    atheris.Setup(
        [sys.argv[0], *limits, f"-max_len={largest}", *flags, str(corpus)],
        lambda content: refused(parser, content, work) and None,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
