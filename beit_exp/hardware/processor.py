"""What a processor can do, what its library makes of that, and who else keeps it busy."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")
FEATURES = {  # Linux's flag -> what it is called
    "asimd": "neon",
    "avx2": "avx2",
    "avx512f": "avx512",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx",
}
ISA = {  # dnnl_cpu_isa_t of oneDNN 3, include/oneapi/dnnl/dnnl_types.h
    0x1: "sse41",
    0x3: "avx",
    0x7: "avx2",
    0xF: "avx2_vnni",
    0x1F: "avx2_vnni_2",
    0x27: "avx512_core",
    0x67: "avx512_core_vnni",
    0xE7: "avx512_core_bf16",
    0x1EF: "avx512_core_fp16",
    0xFEF: "avx512_core_amx",
    0x1FEF: "avx512_core_amx_fp16",
}
BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
QUIET_CORES = 0.1  # below it others disturb no more than the timings of a quiet machine vary


def features() -> list[str]:
    """Its instruction sets that products of matrices gain from; none where Linux does not tell."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    told = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return [name for flag, name in FEATURES.items() if flag in told.partition(":")[2].split()]


def effective_isa(onednn: Path) -> str:
    """The instruction set that oneDNN takes here, also where a variable of the environment or a
    virtual machine keeps it from a better one.
    """
    found = ctypes.CDLL(str(onednn)).dnnl_get_effective_cpu_isa()
    return ISA.get(found, hex(found))


@dataclass
class OtherLoad:
    """How many cores were busy for other processes, on average; those of virtual machines count."""

    cores: float = 0.0

    @property
    def is_quiet(self) -> bool:
        return self.cores < QUIET_CORES


@contextmanager
def measuring_others() -> Iterator[OtherLoad]:
    """Of the block: the time that the processors were busy, but for this process and its children
    that have ended.
    """
    load = OtherLoad()
    started, busy, own = time.perf_counter(), busy_s(), own_s()
    yield load
    others = (busy_s() - busy) - (own_s() - own)
    load.cores = max(0.0, others / (time.perf_counter() - started))


def busy_s() -> float:
    """Of all processors since the machine has started."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in BUSY))


def own_s() -> float:
    """Of this process and of its children that have ended."""
    return float(sum(psutil.Process().cpu_times()[:4]))
