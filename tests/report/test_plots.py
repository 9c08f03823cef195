from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import colormaps
from matplotlib.axes import Axes
from PIL import Image

from beit_exp.report.plots import plot_curves, text_color


def luminance(color: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["viridis", "viridis_r", "Blues"])
def test_text_has_enough_contrast_on_every_colour_of_a_map(name: str) -> None:
    """4.5 is what WCAG 2 asks of text."""
    for place in range(256):
        color = colormaps[name](place)
        text = 1.0 if text_color(color) == "white" else 0.0
        bright, dark = sorted((luminance(color), text), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_the_best_values_in_records_are_no_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda self, *a, **k: drawn.append(list(a[1])) or plot(self, *a, **k)
    )
    records = [{"epoch": 1.0, "train/loss": 1.0, "val/loss": 2.0, "val/top1": 3.0}]
    records[0] |= {"best/val/top1": 4.0, "best/epoch": 5.0, "best/val/loss": 6.0}
    plot_curves({"a run": records}, tmp_path / "c.png")
    assert drawn == [[1.0], [2.0], [3.0]]
    assert Image.open(tmp_path / "c.png").width > 1000
