"""Every operator that the package names as ops.X, nn.X or a tensor's method is documented for
Ascend and for CPU. What is imported by its name is for one of them alone, and says so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from mindspore import Tensor, nn, ops
from settings import ROOT

PLACES: dict[str, Any] = {"ops": ops, "nn": nn, "Tensor": Tensor}
OWNERS = {"ops", "nn", "self", "math"}
NOT_METHODS = {
    "construct",
    "bprop",
    "set_train",
    "set_data",
    "items",
    "keys",
    "values",
    "append",
    "copy",
}
EXCEPTIONS = {  # and why they may be there
    "ops.AllGather": "metrics of two processes are those of one (test_several_processes.py)",
}


@cache
def used() -> dict[str, str]:
    """`ops.MatMul`, `nn.Conv2d`, `Tensor.sum`: each operator in the package, and a file that uses
    it.
    """
    paths = (ROOT / "beit_exp").rglob("*.py")
    return {name: path.name for path in paths for name in named_in(ast.parse(path.read_text()))}


def named_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("ops", "nn")
        ):
            yield f"{node.value.id}.{node.attr}"
        if isinstance(node, ast.FunctionDef) and node.name in ("construct", "bprop"):
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    owner, name = call.func.value, call.func.attr
                    is_own = isinstance(owner, ast.Attribute) or (
                        isinstance(owner, ast.Name) and owner.id in OWNERS
                    )
                    if (
                        not is_own
                        and name not in NOT_METHODS
                        and callable(getattr(Tensor, name, None))
                    ):
                        yield f"Tensor.{name}"


def platforms(name: str) -> str:
    """What an operator's documentation says it runs on, or that of the operator it refers to."""
    place, _, leaf = name.partition(".")
    text = getattr(PLACES[place], leaf).__doc__ or ""
    if found := re.search(r"Supported Platforms:\s*\n\s*(.+)", text):
        return found[1]
    other = re.search(
        r"(?:Refer to|Alias for|For details, please refer to) "
        r":(?:func|class):`mindspore\.(\w+\.\w+)",
        text,
    )
    return platforms(other[1]) if other and other[1] != name else ""


def test_every_operator_is_documented_for_ascend_and_cpu() -> None:
    assert len(used()) > 50 and {"ops.MatMul", "nn.Conv2d", "Tensor.astype"} <= used().keys()
    unlike = {
        name for name in used() if not {"``Ascend``", "``CPU``"} <= set(platforms(name).split())
    }
    assert unlike == EXCEPTIONS.keys()


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_documented_for_ascend_at_least(name: str) -> None:
    assert "``Ascend``" in platforms(name)
