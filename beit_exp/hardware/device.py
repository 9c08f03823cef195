"""The device: what a worker process sets up before anything runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import DeviceTarget, HardwareConfig
from beit_exp.errors import UserError
from beit_exp.hardware import cluster
from beit_exp.hardware.card import choose_half, choose_jit_level
from beit_exp.hardware.cores import own_cores


@dataclass(frozen=True)
class Runtime:
    """What a running worker knows of its device and its place among the workers."""

    device_target: str  # MindSpore's name: CPU or Ascend
    half: Any  # element type of mixed precision on this device
    rank: int
    size: int

    @property
    def is_leader(self) -> bool:
        """Whether this process writes for all."""
        return self.rank == 0

    def gather(self, values: np.ndarray) -> np.ndarray:
        """(n,) float32 of this process -> (size, n) of all, in the order of ranks."""
        row = np.asarray(values, dtype=np.float32)[None]
        return row if self.size == 1 else _gather(row)


def start_device(cfg: HardwareConfig, *, seed: int, convolves: bool = False) -> Runtime:
    """Choose the device and compile whole graphs on it; `UserError` if it is not there.

    Once per process: MindSpore's context is global. `convolves`: what is to run has convolutions.
    """
    _check_numpy()
    if convolves:
        # MindSpore gives oneDNN images in a layout that it has no fast code for on AVX-512: 64
        # images of 14 x 14 through 64 kernels of 3 x 3 took 1,480 ms, with this 16
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    import mindspore as ms

    target = _mindspore_target(cfg.device_target)
    local_rank = cluster.own_rank() % cfg.device_num
    try:
        if target == "Ascend" and cluster.is_member():
            ms.set_device(target, local_rank)
        else:
            ms.set_device(target)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"hardware.device_target = {cfg.device_target!r}: "
            f"MindSpore {ms.__version__} finds no such device here. hardware=cpu runs anywhere; "
            f"hardware=ascend needs CANN and an Ascend card ({_first_line(error)})"
        ) from error
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(seed)
    # On a CPU tensors stay float32 and products round their operands: float16 is slower than
    # float32 there.
    half = _set_up_card(cfg) if target == "Ascend" else ms.float32
    if cluster.is_member():
        cluster.join()
    return Runtime(target, half=half, rank=cluster.own_rank(), size=cluster.world_size(cfg))


def _set_up_card(cfg: HardwareConfig) -> Any:
    """What is to be said before anything runs on an Ascend card; returns its half precision."""
    import mindspore as ms
    from mindspore.device_context.ascend import op_precision

    ms.set_context(jit_config={"jit_level": choose_jit_level(cfg)})
    op_precision.conv_allow_hf32(False)  # the tokenizer's would give other tokens
    if cfg.is_deterministic:
        ms.set_deterministic(True)
    return choose_half(cfg)


def device_name(runtime: Runtime) -> str:
    """What the device calls itself, for the tags of a run: `8 x Ascend910`."""
    if runtime.device_target == "Ascend":
        return f"{runtime.size} x {_card_name()}"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
    return f"{len(own_cores())} cores of {name}"


def _mindspore_target(name: DeviceTarget) -> str:
    match name:
        case "cpu":
            return "CPU"
        case "ascend":
            return "Ascend"
        case "auto":
            return "Ascend" if _has_ascend() else "CPU"
        case _:
            assert_never(name)


def _card_name() -> str:
    from mindspore import hal

    # Where MindSpore simulates a card it counts none, and has no name for it
    return str(hal.get_device_name(0)) if _has_ascend() else "simulated Ascend"


def _gather(row: np.ndarray) -> np.ndarray:
    from mindspore import Tensor, ops

    return ops.AllGather()(Tensor(row)).asnumpy()


def _has_ascend() -> bool:
    from mindspore import hal

    try:
        return bool(hal.device_count("Ascend") > 0)
    except (RuntimeError, ValueError):
        return False


def _check_numpy() -> None:
    if int(np.__version__.split(".")[0]) >= 2:
        raise UserError(
            f"NumPy {np.__version__} is installed, but MindSpore 2.10 is built for NumPy 1.x "
            "and computes wrongly or fails with it. "
            "Install a matching one: pip install 'numpy>=1.26.4,<2'"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
