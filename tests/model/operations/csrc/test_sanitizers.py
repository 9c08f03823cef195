"""The operators under GCC's watch over memory, undefined behaviour and threads.

oneDNN is as MindSpore brings it: of what it does, the guarded pages around each array tell, and the
numbers. Its objects are kept as long as the process lives, so leaks are not looked for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bare_kernels import FOLDER, onednn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("gcc") is None, reason="needs gcc on Linux"
    ),
]
HERE = Path(__file__).parent
MEMORY = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREADS = ("-fsanitize=thread",)
PLAIN = ("-fno-omit-frame-pointer",)
WRAPPED = "-Wl,--wrap=posix_memalign,--wrap=calloc,--wrap=pthread_create"
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def compile_calls(folder: Path, flags: tuple[str, ...]) -> Path:
    """The operators and their calls as one program, or the test is skipped."""
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    built = subprocess.run(
        ["gcc", *flags, probe, "-o", folder / "probe"], capture_output=True, text=True, check=False
    )
    if built.returncode != 0 or subprocess.run([folder / "probe"], check=False).returncode != 0:
        pytest.skip(f"gcc has no runtime for {flags[0]} here: {built.stderr[-200:]}")
    sources = [HERE / "calls.c", *sorted((FOLDER / "csrc").glob("*.c"))]
    warnings = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")
    options = ("-std=gnu11", "-g", "-O1", *warnings, *flags, "-I", FOLDER / "csrc")
    libraries = (WRAPPED, "-lm", "-lpthread", "-ldl")
    command = ["gcc", *options, *sources, "-o", folder / "calls", *libraries]
    subprocess.run(command, check=True)
    return folder / "calls"


@pytest.fixture(scope="module")
def watched_memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_calls(tmp_path_factory.mktemp("memory"), MEMORY)


@pytest.fixture(scope="module")
def watched_threads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_calls(tmp_path_factory.mktemp("threads"), THREADS)


def count_calls(program: Path, mode: str, *, threads: int) -> int:
    """How many calls were made, which is printed; the program ends by itself at a fault."""
    done = subprocess.run(
        [program, mode, onednn(), str(threads)],
        env={**os.environ, **OPTIONS},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr[:5000]
    print(f"{threads} threads, {done.stdout.strip()}")
    counted = re.match(rf"{mode}: (\d+) calls", done.stdout)
    assert counted is not None
    return int(counted[1])


def test_every_shape_stays_within_its_arrays_and_gives_the_numbers(watched_memory: Path) -> None:
    assert count_calls(watched_memory, "shapes", threads=3) > 4000


def test_wrong_arguments_are_refused_before_they_are_used(watched_memory: Path) -> None:
    assert count_calls(watched_memory, "faults", threads=2) > 900


def test_each_refusal_of_memory_leaves_what_the_next_call_can_use(watched_memory: Path) -> None:
    assert count_calls(watched_memory, "refusals", threads=2) > 100


def test_processes_may_fork_while_threads_compute(tmp_path: Path) -> None:
    """Without a sanitizer: GCC 12's holds no lock of its allocator over a fork, so a child that
    allocates may wait for ever.
    """
    assert count_calls(compile_calls(tmp_path, PLAIN), "forks", threads=4) > 300


@pytest.mark.parametrize("threads", [2, 5])
def test_teams_of_threads_share_nothing_unguarded(watched_threads: Path, threads: int) -> None:
    assert count_calls(watched_threads, "threads", threads=threads) > 300
