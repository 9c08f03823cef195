"""Kernels for a CPU: the operators of `csrc/`, compiled at the installation.

Measured on two cores with AVX-512 and bfloat16 (AMD EPYC, Zen 4), MindSpore 2.10: (1576, 768) x
(768, 3072) takes MindSpore's operator 43 ms, here 36 in float32 and 19 with operands rounded to
bfloat16; an exact GELU of (1576, 3072) takes MindSpore's operators 27 ms, here 1.3. Where there
was no C compiler MindSpore's serve, in float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import ops

from beit_exp.errors import UserError
from beit_exp.hardware.cores import num_working
from beit_exp.model.operations.gradients import LAYER_NORM_EPS

COMPILED = Path(__file__).with_name("_native" + EXTENSION_SUFFIXES[0])
ONEDNN = Path(ms.__file__).parent / "lib" / "libdnnl.so.3"
# dnnl_cpu_isa_t, of which each is part of every richer one
ISA_X86, ISA_AVX2 = 0x1, 0x7
ISA_BFLOAT16 = 0xE7  # AVX-512 with products of bfloat16


def is_installed() -> bool:
    """Whether the operators are compiled, and MindSpore brings the library that they call."""
    return COMPILED.exists() and ONEDNN.exists()


def is_available() -> bool:
    """Whether they are installed, and this processor is not slower with them.

    Without AVX2 oneDNN has no kernel for the products of heads that lie in rows: attention of two
    images of BEiT-base took 1147 ms, and MindSpore's two products 20.
    """
    return is_installed() and (not has_isa(ISA_X86) or has_isa(ISA_AVX2))


def has_isa(wanted: int) -> bool:
    """Whether oneDNN uses such instructions here; of another kind of processor it knows none."""
    return bool(ctypes.CDLL(str(ONEDNN)).dnnl_get_effective_cpu_isa() & wanted == wanted)


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    return has_isa(ISA_BFLOAT16)


def describe() -> str:
    """Which kernels a CPU computes with here, and what would make it faster."""
    if not is_available():
        if is_installed():
            return "MindSpore's own (the compiled ones want a processor with AVX2)"
        gain = "with a C compiler at the installation a CPU trains up to twice as fast"
        return f"MindSpore's own ({gain})"
    return f"compiled; products from O1 on in {'bfloat16' if has_bfloat16() else 'float32'}"


@cache
def opened() -> Path:
    """The compiled operators, ready for use by this process."""
    library, threads = ctypes.CDLL(str(COMPILED)), num_working()
    match library.native_open(str(ONEDNN).encode(), threads, ctypes.c_float(LAYER_NORM_EPS)):
        case 0:
            return COMPILED
        case 2:  # NO_MEMORY
            raise MemoryError(f"{COMPILED} is refused memory")
        case 4:  # NO_THREADS
            raise UserError(
                f"the operators for a CPU cannot start {threads} threads: raise the limit of"
                " processes (`ulimit -u`, or that of the container), or the memory for them"
            )
        case _:
            raise RuntimeError(f"{COMPILED} does not fit {ONEDNN}: install the package anew")


def operator(name: str, shapes: Callable[..., Any], *, outputs: int = 1) -> ops.Custom:
    """An operator of `csrc/`.

    `shapes` gives those of its float32 outputs from those of its inputs.
    """
    return ops.Custom(
        f"{opened()}:{name}", shapes, ms.float32 if outputs == 1 else (ms.float32,) * outputs, "aot"
    )


@contextmanager
def kept_weights() -> Iterator[None]:
    """While the block runs no weight of a layer may change: each is brought into the order that
    products want at its first use, and not at every use.
    """
    library = ctypes.CDLL(str(opened()))
    library.native_keep_weights(1)
    try:
        yield
    finally:
        library.native_keep_weights(-1)


def kind_of_products(*, rounds: bool) -> str:
    """What operands are multiplied in, where products may round them."""
    return "bfloat16" if rounds and has_bfloat16() else "float32"
