"""The update of a CPU: compiled code that goes over the memory of all weights once."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor
from typing_extensions import assert_never

from beit_exp.optim.update import AdamUpdate, MomentumUpdate
from beit_exp.train.cells import Told, copies_of
from beit_exp.train.gradients import Gradients, GradientsInBuckets

NO_MEMORY = 2  # csrc/native.h
# `parameter` of csrc/native.h
PARAMETER = np.dtype(
    [(name, "u8") for name in ("weight", "moment1", "moment2", "average", "gradient")]
    + [("elements", "i8"), ("rate", "f4"), ("epsilon", "f4"), ("decay", "f4"), ("", "f4")]
)


class HostUpdate:
    """What `CompiledUpdate` is to other devices, and the norm of all gradients.

    On a CPU a tensor's memory is that of its array (MindSpore's `Tensor.asnumpy`), so this needs no
    graph: MindSpore's operators read and write all of it two to three times, and take a launch for
    each weight.
    """

    def __init__(
        self,
        library: Path,
        weights: ParameterTuple,
        update: AdamUpdate | MomentumUpdate,
        gradients: Gradients,
        *,
        ema_decay: float | None,
    ) -> None:
        self.library = ctypes.CDLL(str(library))
        self.gradients = gradients
        self.ema_decay = ema_decay or 0.0
        self.averages: Any = copies_of(weights, "ema", np.array) if ema_decay is not None else None
        self.table = np.zeros(len(weights), PARAMETER)
        self.table["elements"] = [weight.size for weight in weights]
        self.kept: tuple[tuple[str, list[Parameter]], ...] = (("weight", list(weights)),)
        moments: tuple[ParameterTuple, ...]
        self.betas: tuple[float, ...]
        match update:
            case AdamUpdate():
                moments = update.moments1, update.moments2
                self.name, self.betas = "update_by_adam", (update.beta1, update.beta2)
            case MomentumUpdate():
                moments = (update.velocities,)
                self.name, self.betas = "update_by_momentum", (update.momentum,)
            case _:
                assert_never(update)
        for number, kept in enumerate(moments, start=1):
            self.kept += ((f"moment{number}", list(kept)),)
        if self.averages is not None:
            self.kept += (("average", list(self.averages)),)

    def norm(self, told: Told, gradients: tuple[Tensor, ...]) -> float:
        """Of the scaled gradients' sums over ranks, which a graph gave."""
        self._find_gradients(gradients)
        norm = ctypes.c_double()
        self._call("gradient_norm", ctypes.byref(norm))
        return norm.value

    def __call__(self, factor: float, rates_3P: np.ndarray, gradients: tuple[Tensor, ...]) -> None:
        """Change weights, moments and averages by the gradients times `factor`."""
        self._find(gradients)
        self.table["rate"], self.table["epsilon"], self.table["decay"] = rates_3P
        numbers = (factor, *self.betas, self.ema_decay)
        self._call(self.name, *map(ctypes.c_double, numbers))

    def read_and_write(self, gradients: tuple[Tensor, ...]) -> None:
        """What an update does to the memory, and nothing else: how fast one could be at most."""
        self._find(gradients)
        self._call("update_nothing")

    def _find(self, gradients: tuple[Tensor, ...]) -> None:
        """Where everything lies: loaded weights may lie elsewhere than those before."""
        for name, parameters in self.kept:
            self.table[name] = [parameter.data_ptr() for parameter in parameters]
        self._find_gradients(gradients)

    def _find_gradients(self, gradients: tuple[Tensor, ...]) -> None:
        if isinstance(self.gradients, GradientsInBuckets):
            for bucket, (first, last, sizes) in zip(gradients, self.gradients.buckets, strict=True):
                before = np.cumsum((0, *sizes[:-1])) * bucket.itemsize
                self.table["gradient"][first:last] = bucket.data_ptr() + before
        else:
            self.table["gradient"] = [gradient.data_ptr() for gradient in gradients]

    def _call(self, name: str, *arguments: object) -> None:
        count, table = ctypes.c_int64(len(self.table)), ctypes.c_void_p(self.table.ctypes.data)
        status = getattr(self.library, name)(count, table, *arguments)
        if status == NO_MEMORY:
            raise MemoryError(f"{name} of the compiled kernels is refused memory")
        if status:
            raise RuntimeError(f"{name} of the compiled kernels ends with status {status}")
