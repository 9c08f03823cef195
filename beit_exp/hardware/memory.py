"""What a device has held."""

from __future__ import annotations

import resource
import sys

from beit_exp.hardware.device import Runtime


def peak_memory_gb(runtime: Runtime) -> float:
    """The most that this process, or on a card its device, has held so far."""
    if runtime.device_target == "Ascend":
        import mindspore as ms

        return float(ms.runtime.max_memory_allocated()) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes there, KiB on Linux
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
