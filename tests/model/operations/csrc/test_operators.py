"""The compiled operators: what is empty, what is refused, memory that lacks, and a fork."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from bare_kernels import COMPILED, NO_MEMORY, SUCCESS, WRONG_ARGUMENTS, call, open_kernels
from mindspore import Tensor
from settings import ROOT

from beit_exp.model.operations import native, onednn_kernels


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    if not onednn_kernels.is_available():
        pytest.skip("the operators are not compiled here")
    return open_kernels(threads=2)


def nothing(*shape: int) -> np.ndarray:
    """What an operator must write over."""
    return np.full(shape, np.nan, np.float32)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


PRODUCTS = {
    "product_float32": (ones(3, 0), ones(0, 5)),
    "product_bfloat16": (ones(3, 0), ones(0, 5)),
    "product_with_transposed_float32": (ones(3, 0), ones(5, 0)),
    "product_of_transposed_float32": (ones(0, 3), ones(0, 5)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_sum_of_no_products_is_zero(library: ctypes.CDLL, name: str) -> None:
    out = nothing(3, 5)
    assert call(library, name, *PRODUCTS[name], out) == SUCCESS
    assert (out == 0).all()


def test_a_layer_of_no_inputs_gives_its_bias(library: ctypes.CDLL) -> None:
    bias, out = np.arange(5, dtype=np.float32), nothing(3, 5)
    assert call(library, "dense_float32", ones(3, 0), ones(5, 0), bias, out) == SUCCESS
    assert (out == bias).all()


def test_rows_that_are_not_there_add_nothing_to_the_gradients_of_a_norm(
    library: ctypes.CDLL,
) -> None:
    outs = nothing(0, 4), nothing(4), nothing(4)
    arrays = ones(0, 4), ones(4), ones(0), ones(0), ones(0, 4)
    assert call(library, "layer_norm_gradient", *arrays, *outs) == SUCCESS
    assert (outs[1] == 0).all() and (outs[2] == 0).all()


def test_images_that_are_not_there_add_nothing_to_the_gradients(library: ctypes.CDLL) -> None:
    rows, of_bias, of_scale = ones(0, 4), nothing(2, 3, 3), nothing(4)
    arrays = rows, rows, rows, ones(2, 3, 3), rows, rows, rows, rows, of_bias
    assert call(library, "attention_gradient_float32", *arrays) == SUCCESS
    arrays = rows, ones(4), ones(0), rows, rows, of_scale
    assert call(library, "scaled_addition_gradient", *arrays) == SUCCESS
    assert (of_bias == 0).all() and (of_scale == 0).all()
    of_weight, of_bias = nothing(5, 4), nothing(5)
    arrays = rows, ones(5, 4), ones(0, 5), rows, of_weight, of_bias
    assert call(library, "dense_gradient_float32", *arrays) == SUCCESS
    assert (of_weight == 0).all() and (of_bias == 0).all()
    outs = nothing(5, 4), nothing(5), nothing(3, 5), nothing(3)
    arrays = rows, ones(5, 4), ones(3, 5), ones(0, 5), ones(0, 3), rows, *outs
    assert call(library, "mlp_gradient_float32", *arrays) == SUCCESS
    assert all((out == 0).all() for out in outs)


EMPTY = [
    ("dense_float32", [(0, 4), (5, 4), (5,), (0, 5)]),
    ("product_float32", [(0, 4), (4, 5), (0, 5)]),
    ("product_bfloat16", [(3, 4), (4, 0), (3, 0)]),
    ("mlp_float32", [(0, 4), (5, 4), (5,), (3, 5), (3,), (0, 3)]),
    ("layer_norm", [(0, 4), (4,), (4,), (0, 4), (0,), (0,)]),
    ("attention_float32", [(0, 4), (0, 4), (0, 4), (2, 3, 3), (0, 4)]),
    ("scaled_addition", [(0, 4), (0, 4), (4,), (2,), (0, 4)]),
]


@pytest.mark.parametrize(("name", "shapes"), EMPTY)
def test_an_empty_result_is_nothing_to_do(
    library: ctypes.CDLL, name: str, shapes: list[tuple[int, ...]]
) -> None:
    assert call(library, name, *(ones(*shape) for shape in shapes)) == SUCCESS


MEANINGLESS = {
    "a width that differs": ("product_float32", [ones(3, 4), ones(9, 5), ones(3, 5)]),
    "an output of other rows": ("product_float32", [ones(3, 4), ones(4, 5), ones(2, 5)]),
    "more matrices than one": ("product_float32", [ones(2, 3, 4), ones(2, 4, 5), ones(2, 3, 5)]),
    "axes that lack": ("product_float32", [ones(4), ones(4), ones(1)]),
    "an array that lacks": ("product_float32", [ones(3, 4), ones(4, 5)]),
    "an array too many": ("product_float32", [*[ones(3, 3)] * 4]),
    "no place": ("product_float32", [None, ones(4, 5), ones(3, 5)]),
    "half the bytes": (
        "product_float32",
        [np.ones((3, 4), np.float16), ones(4, 5), ones(3, 5)],
    ),
    "between two numbers": (
        "product_float32",
        [np.zeros(17, np.uint8)[1:].view(np.float32).reshape(2, 2), ones(2, 2), ones(2, 2)],
    ),
    "a bias for other columns": ("dense_float32", [ones(3, 4), ones(5, 4), ones(4), ones(3, 5)]),
    "a mean of nothing": (
        "layer_norm",
        [ones(3, 0), ones(0), ones(0), ones(3, 0), ones(3), ones(3)],
    ),
    "a scale for other columns": (
        "layer_norm",
        [ones(3, 4), ones(5), ones(4), ones(3, 4), ones(3), ones(3)],
    ),
    "a width that heads do not share": (
        "attention_float32",
        [*[ones(6, 8)] * 3, ones(3, 3, 3), ones(6, 8)],
    ),
    "half an image": ("attention_float32", [*[ones(7, 8)] * 3, ones(2, 3, 3), ones(7, 8)]),
    "attention of nothing": ("attention_float32", [*[ones(0, 8)] * 3, ones(0, 3, 3), ones(0, 8)]),
    "layers of nothing": (
        "mlp_float32",
        [ones(3, 0), ones(7, 0), ones(7), ones(5, 7), ones(5), ones(3, 5)],
    ),
    "rows that images do not share": (
        "scaled_addition",
        [ones(6, 4), ones(6, 4), ones(4), ones(4), ones(6, 4)],
    ),
    "rows of no image": ("scaled_addition", [ones(6, 4), ones(6, 4), ones(4), ones(0), ones(6, 4)]),
}


@pytest.mark.parametrize("fault", MEANINGLESS)
def test_arrays_that_an_operator_cannot_mean_are_refused(library: ctypes.CDLL, fault: str) -> None:
    name, arrays = MEANINGLESS[fault]
    assert call(library, name, *arrays) == WRONG_ARGUMENTS


def test_a_refusal_is_an_error_in_mindspore(library: ctypes.CDLL) -> None:
    product = native.NativeProducts(rounds_products=False).product
    with pytest.raises(RuntimeError, match=r"product_float32\) is 3"):
        product(Tensor(ones(3, 4)), Tensor(ones(9, 5))).asnumpy()


def in_a_process_of_its_own(code: str, *words: str) -> str:
    """What that prints, within a time in which it ends many times over."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


MULTIPLIES = """
import hashlib, sys
import numpy as np
from bare_kernels import call, open_kernels
library, rng = open_kernels(threads=int(sys.argv[1])), np.random.default_rng(0)
for rows, width, columns in [(1990, 70, 515), (2090, 700, 33), (1100, 300, 128)]:
    left = rng.standard_normal((rows, width), np.float32)
    right = rng.standard_normal((width, columns), np.float32)
    out = np.full((rows, columns), np.nan, np.float32)
    for _ in range(2):
        assert call(library, "product_float32", left, right, out) == 0
        print(hashlib.sha256(out).hexdigest(), np.abs(out - left @ right).max() < 1e-3)
"""


def test_products_are_the_same_to_the_bit_for_any_number_of_threads(library: ctypes.CDLL) -> None:
    """Who packs which columns of the right operand is no matter, nor that some pack none."""
    one, three, eight = (in_a_process_of_its_own(MULTIPLIES, number) for number in ("1", "3", "8"))
    assert one == three == eight and "False" not in one


FORKS = """
import os, time
import numpy as np
from bare_kernels import call, open_kernels
library = open_kernels(threads=4)
left = np.random.default_rng(0).standard_normal((512, 256), np.float32)
exact = left @ left.T
def is_right():
    out = np.full((512, 512), np.nan, np.float32)
    status = call(library, "product_with_transposed_float32", left, left, out)
    return status == 0 and np.abs(out - exact).max() < 1e-3
def in_a_child(depth):
    child = os.fork()
    if child == 0:
        right = is_right() and (depth == 0 or in_a_child(depth - 1)) and is_right()
        os._exit(0 if right else 1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    return "hangs"
assert is_right()
print(in_a_child(1), is_right(), in_a_child(0))
"""


def test_a_forked_process_computes_on_threads_of_its_own(library: ctypes.CDLL) -> None:
    assert in_a_process_of_its_own(FORKS) == "True True True\n"


REFUSES_MEMORY = """
import resource
import numpy as np
from bare_kernels import call, open_kernels
library = open_kernels(threads=2)
def gradient(rows):
    shapes = (rows, 2048), (2048,), (rows,), (rows,), (rows, 2048), (rows, 2048), (2048,), (2048,)
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    arrays[3] += 1
    return lambda: call(library, "layer_norm_gradient", *arrays)
small, large = gradient(64), gradient(65536)  # of 16 MB of sums, twice
print(small())
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
_, most = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (held + (4 << 20), most))
print(large(), large(), small())
resource.setrlimit(resource.RLIMIT_AS, (most, most))
print(large(), small())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory is Linux's")
def test_memory_that_is_refused_is_an_error_after_which_the_operators_go_on(
    library: ctypes.CDLL,
) -> None:
    printed = in_a_process_of_its_own(REFUSES_MEMORY).split()
    assert printed == ["0", str(NO_MEMORY), str(NO_MEMORY), "0", "0", "0"]


REFUSES_THREADS = """
import resource
from beit_exp.errors import UserError
from beit_exp.model.operations import native, onednn_kernels
onednn_kernels.num_working = lambda: 200
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
_, most = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (held + (300 << 20), most))  # 8 MB of stack for each
try:
    onednn_kernels.opened()
except UserError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
print(onednn_kernels.opened())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory is Linux's")
def test_threads_that_are_refused_are_told_and_may_start_later(library: ctypes.CDLL) -> None:
    refused, opened = in_a_process_of_its_own(REFUSES_THREADS).splitlines()
    assert refused.startswith("the operators for a CPU cannot start 200 threads: raise the limit")
    assert opened == str(COMPILED)
