"""A file's arrays fitted to a network's shapes: carried over, left out, or complained of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beit_exp.errors import UserError
from beit_exp.weights.fit import compare, fit_to, is_resizable, spread_shared_table
from beit_exp.weights.names import from_mindspore_name
from beit_exp.weights.resize import is_table_size, resize_positions, resize_table

TABLE = "relative_position_bias_table"
FILE = Path("w.pth")
TABLES = [f"blocks.{number}.rel_pos.{TABLE}" for number in range(2)]


def shapes_of(arrays: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def random_arrays(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def test_a_shared_table_is_spread_to_the_blocks_of_a_network_that_has_none() -> None:
    source = random_arrays({"norm.weight": (4,), f"rel_pos_bias.{TABLE}": (12, 2)})
    shapes = dict.fromkeys([*TABLES, "norm.weight"], (12, 2))
    spread = spread_shared_table(source, shapes)
    assert sorted(spread) == sorted([*TABLES, "norm.weight"])
    assert all(spread[name] is source[f"rel_pos_bias.{TABLE}"] for name in TABLES)
    having = {f"rel_pos_bias.{TABLE}": (12, 2)}
    assert spread_shared_table(source, having) is source


def test_every_name_has_one_fate_and_keeps_its_order() -> None:
    wanted = {
        "cls_token": (1, 1, 4),
        "pos_embed": (1, 10, 4),
        TABLES[0]: (28, 2),
        "fc_norm.weight": (4,),
        "head.weight": (3, 4),
        "head.bias": (3,),
    }
    found = {
        "mask_token": (1, 1, 4),
        "head.bias": (7,),
        "head.weight": (7, 4),
        TABLES[0]: (12, 2),
        "pos_embed": (1, 5, 4),
        "cls_token": (1, 1, 4),
        "norm.bias": (4,),
    }
    outcome = compare(found, wanted, may_be_new=("head.", "fc_norm."))
    assert outcome.loaded == ["cls_token"]
    assert outcome.resized == [
        "pos_embed (1, 5, 4) -> (1, 10, 4)",
        f"{TABLES[0]} (12, 2) -> (28, 2)",
    ]
    assert outcome.dropped == ["head.weight (7, 4)", "head.bias (7,)"]
    assert outcome.new == ["fc_norm.weight", "head.weight", "head.bias"]
    assert outcome.unused == ["mask_token", "norm.bias"]
    assert outcome.problems == []
    strict = compare(found, wanted, may_be_new=())
    assert strict.problems == [
        "fc_norm.weight (4,) is missing",
        "head.weight is (7, 4), needed (3, 4)",
        "head.bias is (7,), needed (3,)",
    ]


@pytest.mark.parametrize(
    "name, found, wanted",
    [
        (TABLES[0], (12, 2), (28, 3)),  # other heads
        (TABLES[0], (13, 2), (28, 2)),  # no square
        (TABLES[0], (19, 2), (28, 2)),  # a square of an even side has no middle
        (TABLES[0], (2, 2), (28, 2)),  # not even the class token's rows
        (TABLES[0], (12,), (28, 2)),
        ("pos_embed", (1, 5, 3), (1, 10, 4)),
        ("pos_embed", (5, 4), (1, 10, 4)),
        ("blocks.0.attn.q.weight", (3, 4), (4, 4)),
    ],
)
def test_what_cannot_be_resized_is_a_problem(
    name: str, found: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    outcome = compare({name: found}, {name: wanted}, may_be_new=("head.",))
    assert outcome.problems == [f"{name} is {found}, needed {wanted}"]
    assert outcome.resized == []


def test_arrays_are_the_files_or_carried_to_the_networks_grid() -> None:
    source = random_arrays({"cls_token": (1, 1, 4), "pos_embed": (1, 5, 4), TABLES[1]: (12, 2)})
    shapes = {TABLES[1]: (28, 2), "pos_embed": (1, 10, 4), "cls_token": (1, 1, 4)}
    arrays, outcome = fit_to(shapes, source, path=FILE, may_be_new=())
    assert shapes_of(arrays) == shapes and list(arrays) == list(shapes)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(arrays["cls_token"], source["cls_token"].astype(np.float32))
    np.testing.assert_array_equal(arrays["pos_embed"], resize_positions(source["pos_embed"], 10))
    np.testing.assert_array_equal(arrays[TABLES[1]], resize_table(source[TABLES[1]], 28))
    assert len(outcome.loaded) == 1 and len(outcome.resized) == 2


def test_parameters_that_stay_new_have_no_array() -> None:
    source = random_arrays({"cls_token": (1, 1, 4), "head.weight": (7, 4)})
    shapes = {"cls_token": (1, 1, 4), "head.weight": (3, 4)}
    arrays, outcome = fit_to(shapes, source, path=FILE, may_be_new=("head.",))
    assert list(arrays) == ["cls_token"]
    assert (outcome.new, outcome.dropped) == (["head.weight"], ["head.weight (7, 4)"])


def test_the_first_four_problems_are_named_and_all_are_counted() -> None:
    source = random_arrays({f"blocks.{number}.gamma_1": (4,) for number in range(5)})
    with pytest.raises(UserError) as raised:
        fit_to({"cls_token": (1, 1, 4)}, source, path=FILE, may_be_new=("head.",))
    assert str(raised.value).startswith(
        "w.pth does not fit the network: 6 tensors differ: cls_token (1, 1, 4) is missing; "
        "blocks.0.gamma_1 (4,) has no place in the network; "
        "blocks.1.gamma_1 (4,) has no place in the network; "
        "blocks.2.gamma_1 (4,) has no place in the network; ..."
    )


def test_the_table_counts_every_fate_and_names_all_but_the_loaded() -> None:
    found = {"cls_token": (4,), "mask_token": (4,)} | {f"norm.{n}": (4,) for n in range(20)}
    outcome = compare(found, {"cls_token": (4,)}, may_be_new=())
    listed = ", ".join(["mask_token", *(f"norm.{n}" for n in range(15))])
    assert outcome.table() == (
        "what       count  which\n"
        "loaded         1\n"
        "resized        0\n"
        "dropped        0\n"
        "left new       0\n"
        f"unused        21  {listed}, ..."
    )


def test_tables_are_those_of_odd_squares_and_the_class_token() -> None:
    assert [rows for rows in range(60) if is_table_size(rows)] == [4, 12, 28, 52]


def test_the_names_of_mindspores_norms_are_ours() -> None:
    names = ["norm.gamma", "fc_norm.beta", "blocks.0.norm1.gamma", "blocks.0.gamma_1", "head.bias"]
    assert [from_mindspore_name(name) for name in names] == [
        "norm.weight",
        "fc_norm.bias",
        "blocks.0.norm1.weight",
        "blocks.0.gamma_1",
        "head.bias",
    ]


@pytest.mark.parametrize(
    ("name", "found", "wanted"),
    [
        ("blocks.0.rel_pos.relative_position_bias_table", (28,), (28, 3)),
        ("blocks.0.rel_pos.relative_position_bias_table", (27, 3), (28, 3)),
        ("pos_embed", (1, 16, 48), (1, 17, 48)),
        ("pos_embed", (17, 48), (1, 17, 48)),
        ("pos_embed", (2, 26, 48), (1, 17, 48)),
        ("pos_embed", (1, 0, 48), (1, 17, 48)),
    ],
)
def test_what_is_no_square_grid_is_not_resized(
    name: str, found: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    assert not is_resizable(name, found, wanted)
