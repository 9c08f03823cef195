"""The kernels for a CPU, compiled or MindSpore's: the numbers of their definitions."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor, ops
from networks import KERNELS, mlp_of, product_of, products_of
from scipy.special import ndtr

from beit_exp.model.operations import onednn_kernels

SAYS_KERNELS = """
from beit_exp.model.operations import onednn_kernels
print(onednn_kernels.is_available(), onednn_kernels.describe(), sep="\\n")
"""
SHAPES = [(1, 3, 1), (17, 64, 33), (200, 300, 1000), (1100, 300, 200)]  # rows, width, columns


def rounded(array: np.ndarray) -> np.ndarray:
    """To the nearest bfloat16, of two as near to the even one."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).view(np.float32)


def operands(name: str, *shapes: tuple[int, ...]) -> tuple[list[Tensor], list[np.ndarray]]:
    """Random matrices, and the same as these kernels are to see them."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
    is_rounded = name == "rounded" and onednn_kernels.has_bfloat16()
    seen = [(rounded(array) if is_rounded else array).astype(np.float64) for array in arrays]
    return [Tensor(array) for array in arrays], seen


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_matrices_are_exact_products_of_their_operands(
    name: str, shape: tuple[int, int, int]
) -> None:
    rows, width, columns = shape
    kernels = products_of(name)
    bias = np.random.default_rng(1).standard_normal(columns, np.float32)

    (left, right), (seen_left, seen_right) = operands(name, (rows, width), (width, columns))
    plain = kernels.product(left, right).asnumpy()
    agree(
        "products of matrices, of the largest",
        plain,
        seen_left @ seen_right,
        within=2e-6,
        relative=True,
    )

    (left, right), (seen_left, seen_right) = operands(name, (rows, width), (columns, width))
    transposed = kernels.product_with_transposed(left, right).asnumpy()
    agree(
        "products of matrices, of the largest",
        transposed,
        seen_left @ seen_right.T,
        within=2e-6,
        relative=True,
    )
    dense = product_of(name)(left, right, Tensor(bias)).asnumpy()
    agree(
        "products of matrices, of the largest",
        dense,
        seen_left @ seen_right.T + bias,
        within=2e-6,
        relative=True,
    )

    (left, right), (seen_left, seen_right) = operands(name, (width, rows), (width, columns))
    of_transposed = kernels.product_of_transposed(left, right).asnumpy()
    agree(
        "products of matrices, of the largest",
        of_transposed,
        seen_left.T @ seen_right,
        within=2e-6,
        relative=True,
    )


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_layers_gradients_are_exact_products_of_their_operands(
    name: str, shape: tuple[int, int, int]
) -> None:
    rows, width, columns = shape
    tensors, (x, weight, gradient) = operands(
        name, (rows, width), (columns, width), (rows, columns)
    )
    bias = Tensor(np.zeros(columns, np.float32))
    product = product_of(name)
    _, found = ops.value_and_grad(lambda *inputs: (product(*inputs) * tensors[2]).sum(), (0, 1, 2))(
        *tensors[:2], bias
    )
    plain = tensors[2].asnumpy().astype(np.float64)  # of which alone the bias has its gradient
    for ours, exact in zip(
        found, (gradient @ weight, gradient.T @ x, plain.sum(axis=0)), strict=True
    ):
        agree(
            "a layer's gradients, of the largest",
            ours.asnumpy(),
            exact,
            within=2e-6,
            relative=True,
        )


@pytest.mark.parametrize("name", KERNELS[:2])  # the third rounds what GELU is given
def test_gelu_and_its_slope_are_exact(name: str) -> None:
    layers = mlp_of(name)
    x = np.linspace(-9, 9, 100_001, dtype=np.float32)[:, None]
    one, zero = Tensor(np.ones((1, 1), np.float32)), Tensor(np.zeros(1, np.float32))
    exact = x * ndtr(x.astype(np.float64))
    slope = ndtr(x.astype(np.float64)) + x * np.exp(-(x.astype(np.float64) ** 2) / 2) / np.sqrt(
        2 * np.pi
    )
    found, found_slope = ops.value_and_grad(lambda x: layers(x, one, zero, one, zero)[0])(Tensor(x))
    agree("GELU", found.asnumpy(), exact, within=2e-6)
    agree("GELU's slope", found_slope.asnumpy(), slope, within=2e-6)


@pytest.mark.skipif(not onednn_kernels.is_available(), reason="the operators are not compiled here")
@pytest.mark.parametrize("name", KERNELS[1:])
def test_weights_that_are_kept_give_the_same_products_until_they_are_forgotten(name: str) -> None:
    (x, weight), _ = operands(name, (40, 96), (80, 96))
    bias, product = Tensor(np.zeros(80, np.float32)), product_of(name)
    plain = product(x, weight, bias).asnumpy()
    with onednn_kernels.kept_weights():
        for _ in range(2):
            agree("kept weights", product(x, weight, bias).asnumpy(), plain, within=1e-5)
        weight.asnumpy()[:] = 0  # as another weight that comes to lie where one lay
        assert (product(x, weight, bias).asnumpy() == 0).all()
        weight.asnumpy()[0, 1] = 3
        with onednn_kernels.kept_weights():
            pass
        assert (product(x, weight, bias).asnumpy() != 0).any()  # whoever ends, all is forgotten


@pytest.mark.skipif(not onednn_kernels.is_available(), reason="the operators are not compiled here")
@pytest.mark.skipif(not onednn_kernels.has_isa(onednn_kernels.ISA_AVX2), reason="without AVX2")
@pytest.mark.parametrize(
    ("instructions", "is_used", "description"),
    [
        ("SSE41", "False", "MindSpore's own (the compiled ones want a processor with AVX2)"),
        ("AVX2", "True", "compiled; products from O1 on in float32"),
    ],
)
def test_a_processor_without_avx2_computes_by_mindspores_operators(
    instructions: str, is_used: str, description: str
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", SAYS_KERNELS],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-2:] == [is_used, description]


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_two_layers_and_their_gradients_are_exact(name: str, is_training: bool) -> None:
    rng = np.random.default_rng(0)
    shapes = (33, 48), (96, 48), (96,), (40, 96), (40,)
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
    arrays[1] /= 48**0.5
    arrays[3] /= 96**0.5
    gradient = rng.standard_normal((33, 40), np.float32)
    layers = mlp_of(name)
    layers.set_train(is_training)
    tensors = [Tensor(array) for array in arrays]
    value = layers(*tensors)[0].asnumpy()
    _, gradients = ops.value_and_grad(
        lambda *inputs: (layers(*inputs)[0] * Tensor(gradient)).sum(), (0, 1, 2, 3, 4)
    )(*tensors)

    x, weight1, bias1, weight2, bias2 = (array.astype(np.float64) for array in arrays)
    hidden = x @ weight1.T + bias1
    active = hidden * ndtr(hidden)
    slope = ndtr(hidden) + hidden * np.exp(-(hidden**2) / 2) / np.sqrt(2 * np.pi)
    grad_hidden = gradient @ weight2 * slope
    exact = [grad_hidden @ weight1, grad_hidden.T @ x, grad_hidden.sum(axis=0)]
    exact += [gradient.T @ active, gradient.sum(axis=0)]
    is_rounded = name == "rounded" and onednn_kernels.has_bfloat16()
    within, what = (0.02, "two rounded layers") if is_rounded else (4e-6, "two layers")
    agree(
        f"{what}, of the largest", value, active @ weight2.T + bias2, within=within, relative=True
    )
    for ours, theirs in zip(gradients, exact, strict=True):
        agree(f"{what}' gradients", ours.asnumpy(), theirs, within=within, relative=True)
