from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from beit_exp.hardware import processor
from beit_exp.hardware.processor import OtherLoad, effective_isa, features, measuring_others

SPIN = "import time\nended = time.monotonic() + {}\nwhile time.monotonic() < ended: pass"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "flags\t\t: fpu avx avx2 avx512f avx512_bf16 amx_bf16 amx_tile",
            "avx2 avx512 avx512_bf16 amx",
        ),
        ("flags\t\t: fpu avx avx2_not", ""),
        ("Features\t: fp asimd aes", "neon"),
        ("model name\t: of avx2", ""),
    ],
)
def test_the_features_are_those_that_linux_tells(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\nbugs\t\t: avx2\n")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert features() == expected.split()


def test_the_instruction_set_is_told_by_name_or_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, isa: int) -> None:
            self.dnnl_get_effective_cpu_isa = lambda: isa

    for isa, name in ((0x7, "avx2"), (0xE7, "avx512_core_bf16"), (0x70000, "0x70000")):
        monkeypatch.setattr(ctypes, "CDLL", lambda _, isa=isa: Library(isa))
        assert effective_isa(Path("libdnnl.so")) == name


def test_another_process_counts_and_ones_own_work_does_not() -> None:
    with measuring_others() as load:
        exec(SPIN.format(1.0))
    alone = load.cores
    with subprocess.Popen([sys.executable, "-c", SPIN.format(60)]) as other:
        time.sleep(0.2)
        before = sum(psutil.Process(other.pid).cpu_times()[:2])
        with measuring_others() as load:
            time.sleep(1.0)
        took = sum(psutil.Process(other.pid).cpu_times()[:2]) - before
        other.kill()
    assert load.cores >= 0.8 * took > 0.1
    assert alone < psutil.cpu_count() - 0.5  # the core of this process is not among them


def test_a_machine_is_quiet_where_others_take_less_than_a_tenth_of_a_core() -> None:
    assert OtherLoad(0.05).is_quiet and not OtherLoad(0.2).is_quiet
