"""One place asks for the device; what it chooses elsewhere gives the numbers of its choice here."""

from __future__ import annotations

import ast
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from networks import O0, build
from settings import ROOT, make_config

from beit_exp.model.build import build_masked_model, build_model
from beit_exp.model.operations import choice
from beit_exp.model.operations.additions import (
    AdditionOnCpu,
    RowAddition,
    ScaledAdditionByProducts,
    ScaledAdditionByRows,
)
from beit_exp.model.operations.attending import AttentionOfRows
from beit_exp.model.operations.choice import Operations
from beit_exp.model.operations.gradients import Normalisation
from beit_exp.model.operations.heads import HeadsByRows
from beit_exp.model.operations.mindspore_kernels import DenseByBiasAdd
from beit_exp.model.operations.native import (
    NativeAttention,
    NativeDense,
    NativeMlp,
    NativeNormalisation,
    NativeProjections,
    NativeScaledAddition,
)
from beit_exp.model.operations.overflow import FloatStatus, Infinities
from beit_exp.model.operations.projections import ProjectionsOfRows, SeparateProjections
from beit_exp.model.operations.rows import ConstantOnes, OpenOnes, RowsByProducts
from beit_exp.model.operations.squares import SquaresByProduct
from beit_exp.model.precision import build_precision
from beit_exp.train.cells import GradientCell
from beit_exp.train.losses import Classification, MaskedPrediction

PACKAGE = ROOT / "beit_exp"
SMALL = ("model.embed_dim=32", "model.depth=1", "model.num_heads=2", "model.head_init_scale=1.0")
NO_SCALE = "model.layer_scale_init_value=null"
CLASS_TOKEN = (
    "model.pooling=cls",
    "model.rel_pos_bias=false",
    "model.shared_rel_pos_bias=true",
    NO_SCALE,
)
KEEP = np.array([[[1, 0], [2, 1]]], np.float32)
FOR_A_CPU = (AdditionOnCpu, ScaledAdditionByProducts, ScaledAdditionByRows, RowAddition)
FOR_A_CPU += (RowsByProducts, ConstantOnes, OpenOnes, HeadsByRows, AttentionOfRows)
FOR_A_CPU += (
    SeparateProjections,
    ProjectionsOfRows,
    NativeAttention,
    NativeDense,
    NativeMlp,
)
FOR_A_CPU += (NativeNormalisation, NativeProjections, NativeScaledAddition)
FOR_A_CPU += (DenseByBiasAdd, Normalisation, SquaresByProduct)
HERE_AND_ELSEWHERE = [True, False]  # on a CPU?


def names_in(tree: ast.Module) -> set[str]:
    """Every name that code reads, imports, or finds in another's attributes."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return found | {node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("get_context", {"model/operations/choice.py"}),
        ("is_available", {"model/operations/choice.py", "model/operations/onednn_kernels.py"}),
        ("is_cpu", {"model/operations/choice.py", "dry_run/front_end.py"}),  # which answers for it
    ],
)
def test_one_file_outside_hardware_asks_for_the_device(name: str, places: set[str]) -> None:
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "hardware"]
    asking = {path for path in paths if name in names_in(ast.parse(path.read_text()))}
    assert {path.relative_to(PACKAGE).as_posix() for path in asking} == places


def test_kernels_are_described_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.describe_kernels() == choice.onednn_kernels.describe()
    monkeypatch.setattr(choice, "is_cpu", lambda: False)
    assert choice.describe_kernels() is None


@pytest.mark.parametrize(
    ("on_cpu", "soc", "mode", "expected"),
    [
        (True, "ascend910", None, Infinities),
        (False, "ascend910", None, FloatStatus),
        (False, "ascend910b", None, Infinities),
        (False, "ascend910b", "INFNAN_MODE", Infinities),
        (False, "ascend910b", "SATURATION_MODE", FloatStatus),
    ],
)
def test_overflow_is_read_from_the_card_where_numbers_saturate(
    on_cpu: bool, soc: str, mode: str | None, expected: type, monkeypatch
) -> None:
    monkeypatch.setattr(choice, "is_cpu", lambda: on_cpu)
    monkeypatch.setattr(choice.card, "soc_version", lambda: soc)
    monkeypatch.delenv("MS_ASCEND_CHECK_OVERFLOW_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("MS_ASCEND_CHECK_OVERFLOW_MODE", mode)
    assert type(choice.build_overflow_check()) is expected


def operations(monkeypatch: pytest.MonkeyPatch, *, on_cpu: bool) -> Operations:
    """What a network without compiled kernels computes with, on a CPU or another device."""
    monkeypatch.setattr(choice, "is_cpu", lambda: on_cpu)
    monkeypatch.setattr(choice.onednn_kernels, "is_available", lambda: False)
    return Operations(O0)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("on_cpu", HERE_AND_ELSEWHERE)
def test_sums_and_spreads_of_rows_are_their_definitions(on_cpu: bool, monkeypatch) -> None:
    rows = operations(monkeypatch, on_cpu=on_cpu).rows
    x, column, row = numbers(5, 3), numbers(5, 1, seed=1), numbers(3, seed=2)

    def near(found: Tensor, expected: np.ndarray) -> None:
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=1e-5, atol=1e-6)

    near(rows.column_sums(Tensor(x)), x.sum(axis=0))
    near(rows.row_sums(Tensor(x)), x.sum(axis=1, keepdims=True))
    near(Tensor(x) * rows.spread_column(Tensor(column), 3), x * column)
    near(Tensor(x) * rows.spread_row(Tensor(row), 5), x * row)
    near(rows.outer(Tensor(column), Tensor(row)), column * row)
    near(rows.transposed(Tensor(x)), x.T)


@pytest.mark.parametrize("on_cpu", HERE_AND_ELSEWHERE)
def test_heads_are_the_width_split_and_merged_again(on_cpu: bool, monkeypatch) -> None:
    heads = operations(monkeypatch, on_cpu=on_cpu).attend.heads
    x = numbers(2, 5, 12)
    split = heads.split(Tensor(x), 3)
    assert (split.asnumpy() == x.reshape(2, 5, 3, 4).transpose(0, 2, 1, 3)).all()
    assert (heads.merge(split).asnumpy() == x).all()


@pytest.mark.parametrize("mode", [ms.PYNATIVE_MODE, ms.GRAPH_MODE])
@pytest.mark.parametrize(("on_cpu", "compiled"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("has_gamma", [True, False])
@pytest.mark.parametrize("keep", [None, np.array([2, 0], np.float32)])
def test_a_branch_is_added_scaled_and_dropped_with_its_gradients(
    keep: np.ndarray | None, has_gamma: bool, on_cpu: bool, compiled: bool, mode: int, monkeypatch
) -> None:
    if compiled and not choice.onednn_kernels.is_available():
        pytest.skip("the operators are not compiled here")
    ms.set_context(mode=mode)
    chosen = Operations(O0) if compiled else operations(monkeypatch, on_cpu=on_cpu)
    x, branch, gradient = (numbers(2, 5, 4, seed=seed) for seed in range(3))
    gamma = numbers(4, seed=3)
    kept = None if keep is None else Tensor(keep)
    factor = np.ones((2, 1, 1), np.float32) if keep is None else keep[:, None, None]

    class Weighted(nn.Cell):
        """A number whose gradients are those of the sum, seen from `gradient`."""

        def __init__(self) -> None:
            super().__init__()
            self.added = chosen.add_scaled if has_gamma else chosen.add

        def construct(self, x: Tensor, branch: Tensor, gamma: Tensor) -> Tensor:
            added = self.added(x, branch, gamma if has_gamma else None, kept)
            return (added * Tensor(gradient)).sum()

    inputs = [Tensor(array) for array in (x, branch, gamma)]
    wanted = (0, 1, 2) if has_gamma else (0, 1)
    value, found = ops.value_and_grad(Weighted(), wanted)(*inputs)
    scale = gamma if has_gamma else np.ones_like(gamma)
    assert float(value) == pytest.approx((gradient * (x + factor * scale * branch)).sum(), rel=1e-4)
    expected = [gradient, gradient * factor * scale, (gradient * factor * branch).sum((0, 1))]
    for ours, exact in zip(found, expected[: len(wanted)], strict=True):
        np.testing.assert_allclose(ours.asnumpy(), exact, rtol=1e-5, atol=1e-6)


def gradients(network: Any, keep: np.ndarray | None, *, masked: bool) -> list[np.ndarray]:
    """The loss of two images, and the gradient of every weight."""
    images = Tensor(numbers(2, 3, 32, 32))
    kept = None if keep is None else Tensor(keep)
    objective: Any = Classification(network)
    batch: list[Any] = [images, Tensor(np.eye(10, dtype=np.float32)[:2]), kept]
    if masked:
        hidden = np.zeros((2, network.pos_embed.shape[1] - 1), np.int32)
        hidden[:, :3] = 1
        places = np.flatnonzero(hidden).astype(np.int32)
        tokens, weights = np.arange(len(places)), np.ones(len(places), np.float32)
        objective = MaskedPrediction(network)
        batch = [images, Tensor(hidden), Tensor(places), Tensor(tokens.astype(np.int32))]
        batch += [Tensor(weights), kept]
    cell = GradientCell(objective, accumulate_steps=1, ranks=1)
    cell.set_train()
    one = Tensor(np.float32(1))
    told, found = cell(one, one, True, *batch)
    found = cell.gradients.take_apart(found)
    return [told.asnumpy()[:2], *(gradient.asnumpy() for gradient in found)]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("settings", "keep", "masked"),
    [
        pytest.param((), KEEP, False, id="layer scale and drop path", marks=pytest.mark.slow),
        pytest.param((), None, False, id="layer scale", marks=pytest.mark.slow),
        pytest.param((NO_SCALE,), KEEP, False, id="drop path", marks=pytest.mark.slow),
        pytest.param(CLASS_TOKEN, None, False, id="neither", marks=pytest.mark.slow),
        pytest.param((), KEEP, True, id="pre-training", marks=pytest.mark.slow),
    ],
)
def test_another_device_gets_operators_that_give_the_numbers_of_a_cpus(
    settings: tuple[str, ...], keep: np.ndarray | None, masked: bool, monkeypatch
) -> None:
    whole = make_config(*SMALL, *settings)
    cfg, found = whole.model, []
    for on_cpu in HERE_AND_ELSEWHERE:
        monkeypatch.setattr(choice, "is_cpu", lambda on_cpu=on_cpu: on_cpu)
        network: Any = (
            build_masked_model(cfg, whole.mask, vocabulary=16, precision=O0, seed=0)
            if masked
            else build_model(cfg, num_classes=10, precision=O0, seed=0)
        )
        only_here = [cell for _, cell in network.cells_and_names() if isinstance(cell, FOR_A_CPU)]
        assert bool(only_here) == on_cpu
        found.append(gradients(network, keep, masked=masked))
    for ours, plain in zip(*found, strict=True):
        atol = 2e-6 * max(1.0, float(np.abs(plain).max()))
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=atol)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_both_kinds_of_kernels_train_alike_and_rounding_stays_near(monkeypatch) -> None:
    wider = (*SMALL, "model.embed_dim=64")
    half = build_precision("O1", half=ms.float32)
    own, rounded = (
        gradients(build(*wider, precision=precision), None, masked=False)
        for precision in (O0, half)
    )
    monkeypatch.setattr(choice.onednn_kernels, "is_available", lambda: False)
    plain = gradients(build(*wider), None, masked=False)
    for ours, rounding, mindspore in zip(own, rounded, plain, strict=True):
        largest = max(1e-3, float(np.abs(mindspore).max()))
        np.testing.assert_allclose(ours, mindspore, rtol=1e-4, atol=2e-6 * largest)
        np.testing.assert_allclose(rounding, mindspore, atol=0.05 * largest)
