from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from beit_exp.report.responses import plot_response
from beit_exp.report.runs import Run
from beit_exp.report.variation import Choice


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (["a"], [(0.1,), (0.2,)]),
        (["a"], [("x",), ("y",)]),
        (["a", "b"], [(1e-5, 0.65), (1e-3, 0.75), (1e-4, None)]),
        (["a", "b"], [("x", True), ("y", False)]),
        (["a", "b"], [(n / 7, n / 9) for n in range(1, 20)]),
        (["a", "b", "c", "d"], [(1, 2, "x", 4), (2, 3, "y", 1e3)]),
    ],
)
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_sweeps_response_is_drawn_for_numbers_and_words(
    keys: list[str], values: list, repeats: int, tmp_path: Path
) -> None:
    run = Run("r", "finished", {}, [], {}, None)
    choices = [
        Choice(chosen, [run] * repeats, [50.0 + n + k for k in range(repeats)])
        for n, chosen in enumerate(values)
    ]
    plot_response(keys, choices, score="best val/top1", path=tmp_path / "r.png")
    assert Image.open(tmp_path / "r.png").width > 500
