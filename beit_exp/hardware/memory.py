"""What a device has held, and whether it could hold more."""

from __future__ import annotations

import re
import resource
import sys

from beit_exp.hardware.device import Runtime

# MindSpore's words on a CPU, on a card, and of an operator of ours (NO_MEMORY in csrc/native.h);
# C++'s own; and those of Linux, where a library is loaded
REFUSED = re.compile(
    r"Allocate memory failed|memory isn't enough|_native\S*'s function\(\w+\) is 2\b|bad_alloc"
    r"|failed to map segment(?!.*not permitted)|[Cc]annot allocate memory"
)

THREADS_REFUSED = re.compile(r"Resource temporarily unavailable|can't start new thread")


def are_threads_refused(error: Exception) -> bool:
    """Whether no further thread could be started: there may be too many, or no memory for one."""
    return isinstance(error, RuntimeError) and THREADS_REFUSED.search(str(error)) is not None


def is_memory_refused(error: Exception) -> bool:
    """Whether this is the error of a device, of Python or of Linux, that memory was refused to."""
    return isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, ImportError, OSError))
        and REFUSED.search(str(error)) is not None
    )


def peak_memory_gb(runtime: Runtime) -> float:
    """The most that this process, or on a card its device, has held so far."""
    if runtime.device_target == "Ascend":
        import mindspore as ms

        return float(ms.runtime.max_memory_allocated()) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes there, KiB on Linux
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
