from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from beit_exp.report.plots import plot_response


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (["a"], [(0.1,), (0.2,)]),
        (["a"], [("x",), ("y",)]),
        (["a", "b"], [(1e-5, 0.65), (1e-3, 0.75), (1e-4, None)]),
        (["a", "b"], [("x", True), ("y", False)]),
    ],
)
def test_a_sweeps_response_is_drawn_for_numbers_and_words(
    keys: list[str], values: list, tmp_path: Path
) -> None:
    plot_response(
        keys,
        values,
        [50.0 + n for n in range(len(values))],
        score="val/top1",
        path=tmp_path / "r.png",
    )
    assert Image.open(tmp_path / "r.png").width > 500
