"""The kernels for a CPU, compiled or MindSpore's: the numbers of their definitions."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from conftest import agree, make_config
from mindspore import Tensor, nn, ops
from scipy.special import ndtr

from beit_exp.model.build import build_model
from beit_exp.model.operations import onednn_kernels
from beit_exp.model.operations.gradients import Normalisation, Softmax, WeightedSum
from beit_exp.model.operations.mindspore_kernels import Kernels
from beit_exp.model.operations.rows import ConstantOnes, RowsByProducts
from beit_exp.model.precision import build_precision
from beit_exp.train.losses import Classification
from beit_exp.train.step import GradientCell

KERNELS = ["mindspore", "float32", "rounded"] if onednn_kernels.is_available() else ["mindspore"]
ROWS = RowsByProducts(ConstantOnes())
NORMS = [Normalisation(ROWS)]
NORMS += [onednn_kernels.NativeNormalisation()] if onednn_kernels.is_available() else []
SHAPES = [(1, 3, 1), (17, 64, 33), (200, 300, 1000), (1100, 300, 200)]  # rows, width, columns
BATCHES = [(3, 2), (2, 12)]


def kernels_of(name: str) -> Kernels:
    return (
        Kernels()
        if name == "mindspore"
        else onednn_kernels.NativeKernels(rounds_products=name == "rounded")
    )


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
    kernels = kernels_of(name)
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
    dense = kernels.dense(left, right, Tensor(bias)).asnumpy()
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
@pytest.mark.parametrize("batch", BATCHES)
def test_products_of_batches_are_those_of_their_matrices(name: str, batch: tuple[int, int]) -> None:
    kernels = kernels_of(name)
    (left, right), seen = operands(name, (*batch, 197, 64), (*batch, 64, 197))
    agree(
        "products of batches",
        kernels.batch_product(left, right).asnumpy(),
        seen[0] @ seen[1],
        within=1e-4,
    )

    (left, right), seen = operands(name, (*batch, 197, 64), (*batch, 197, 64))
    found = kernels.batch_product_with_transposed(left, right).asnumpy()
    agree("products of batches", found, seen[0] @ seen[1].swapaxes(2, 3), within=1e-4)

    (left, right), seen = operands(name, (*batch, 197, 197), (*batch, 197, 64))
    found = kernels.batch_product_of_transposed(left, right).asnumpy()
    agree("products of batches", found, seen[0].swapaxes(2, 3) @ seen[1], within=1e-4)


@pytest.mark.parametrize("name", KERNELS)
def test_gelu_and_its_slope_are_exact(name: str) -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    kernels = kernels_of(name)
    x = np.linspace(-9, 9, 100_001, dtype=np.float32)
    exact = x * ndtr(x.astype(np.float64))
    slope = ndtr(x.astype(np.float64)) + x * np.exp(-(x.astype(np.float64) ** 2) / 2) / np.sqrt(
        2 * np.pi
    )
    found, found_slope = ops.value_and_grad(lambda x: kernels.gelu(x)[0])(Tensor(x))
    agree("GELU", found.asnumpy(), exact, within=2e-6)
    agree("GELU's slope", found_slope.asnumpy(), slope, within=2e-6)


def test_both_kinds_of_kernels_train_alike_and_rounding_stays_near(monkeypatch) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    cfg = make_config(
        "model.embed_dim=64", "model.depth=2", "model.num_heads=2", "model.head_init_scale=1.0"
    ).model
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((4, 3, 32, 32), np.float32))
    targets = Tensor(np.eye(10, dtype=np.float32)[:4])

    def gradients(level: str) -> list[np.ndarray]:
        network = build_model(
            cfg, num_classes=10, precision=build_precision(level, half=ms.float32), seed=0
        )
        cell = GradientCell(Classification(network), accumulate_steps=1, ranks=1)
        loss, _, found = cell(Tensor(np.float32(1)), True, images, targets, None)
        return [loss.asnumpy(), *(gradient.asnumpy() for gradient in found)]

    own, half = gradients("O0"), gradients("O1")
    monkeypatch.setattr(onednn_kernels, "is_available", lambda: False)
    plain = gradients("O0")
    for ours, rounding, mindspore in zip(own, half, plain, strict=True):
        largest = max(1e-3, float(np.abs(mindspore).max()))
        np.testing.assert_allclose(ours, mindspore, rtol=1e-4, atol=2e-6 * largest)
        np.testing.assert_allclose(rounding, mindspore, atol=0.05 * largest)


@pytest.mark.parametrize("shape", [(1, 8), (33, 48), (1576, 768)])
@pytest.mark.parametrize("normalise", NORMS)
def test_layer_norm_and_its_gradients_are_exact(normalise: nn.Cell, shape: tuple[int, int]) -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    rng = np.random.default_rng(0)
    x, gradient = (rng.normal(0.5, 2.0, shape).astype(np.float32) for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1], np.float32) for _ in range(2))
    tensors = [Tensor(array) for array in (x, weight, bias)]
    found, gradients = ops.value_and_grad(
        lambda *inputs: (normalise(*inputs)[0] * Tensor(gradient)).sum(), (0, 1, 2)
    )(*tensors)

    scale = 1 / np.sqrt(x.astype(np.float64).var(axis=1, keepdims=True) + 1e-6)
    hat = (x - x.astype(np.float64).mean(axis=1, keepdims=True)) * scale
    weighted = gradient * weight.astype(np.float64)
    along = weighted.mean(axis=1, keepdims=True) + hat * (weighted * hat).mean(
        axis=1, keepdims=True
    )
    exact = [
        scale * (weighted - along),
        (gradient * hat).sum(axis=0),
        gradient.sum(axis=0, dtype=np.float64),
    ]
    agree(
        "layer norm, of the largest",
        normalise(*tensors)[0].asnumpy(),
        hat * weight + bias,
        within=2e-6,
        relative=True,
    )
    for name, ours, theirs in zip(("x", "scale", "shift"), gradients, exact, strict=True):
        agree(
            f"layer norm's gradient of {name}, of the largest",
            ours.asnumpy(),
            theirs,
            within=2e-6,
            relative=True,
        )
    assert np.isfinite(float(found))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_attention_and_its_gradients_are_exact(name: str, batch: int) -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    heads, tokens, width = 2, 50, 16
    rng = np.random.default_rng(0)
    q, k, v, gradient = (
        rng.standard_normal((batch, heads, tokens, width), np.float32) for _ in range(4)
    )
    bias = rng.standard_normal((heads, tokens, tokens), np.float32)
    softmax = Softmax(ROWS) if name == "mindspore" else onednn_kernels.NativeSoftmax()
    attend = WeightedSum(kernels_of(name), softmax, ROWS, statistics=ms.float32)
    _, gradients = ops.value_and_grad(
        lambda *inputs: (attend(*inputs)[0] * Tensor(gradient)).sum(), (0, 1, 2, 3)
    )(*(Tensor(array) for array in (q, k, v, bias)))

    scores = q.astype(np.float64) @ k.swapaxes(2, 3) + bias
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    grad_weights = gradient.astype(np.float64) @ v.swapaxes(2, 3)
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(axis=-1, keepdims=True))
    exact = [
        grad_scores @ k,
        grad_scores.swapaxes(2, 3) @ q,
        weights.swapaxes(2, 3) @ gradient,
        grad_scores.sum(axis=0),
    ]
    is_rounded = name == "rounded" and onednn_kernels.has_bfloat16()
    within, what = (0.04, "rounded attention") if is_rounded else (4e-6, "attention")
    for ours, theirs in zip(gradients, exact, strict=True):
        agree(
            f"{what}'s gradients, of the largest",
            ours.asnumpy(),
            theirs,
            within=within,
            relative=True,
        )
