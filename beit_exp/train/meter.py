"""What a run takes of its machine."""

from __future__ import annotations

from pathlib import Path

import psutil


class SystemMeter:
    """Each call measures since the one before: processor (percent of all cores), memory and free
    disk (GB).
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.process = psutil.Process()
        psutil.cpu_percent()

    def __call__(self) -> dict[str, float]:
        return {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/memory_used_gb": psutil.virtual_memory().used / 1e9,
            "system/process_memory_gb": self.process.memory_info().rss / 1e9,
            "system/disk_free_gb": psutil.disk_usage(str(self.run_dir)).free / 1e9,
        }
