from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from beit_exp.report.data_plots import plot_class_sizes, plot_sizes
from beit_exp.report.plots import MANY_CLASSES


def test_few_classes_are_bars_and_many_are_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(Axes, "barh", lambda self, *_, **__: drawn.append("bars"))
    monkeypatch.setattr(Axes, "plot", lambda self, *_, **__: drawn.append("curve"))
    monkeypatch.setattr(Axes, "legend", lambda self, **_: None)
    for count in (MANY_CLASSES, MANY_CLASSES + 1):
        sizes = np.arange(2 * count).reshape(2, count)
        classes = [f"class {number}" for number in range(count)]
        plot_class_sizes(sizes, ["train", "val"], classes, tmp_path / f"{count}.png")
        with Image.open(tmp_path / f"{count}.png") as image:
            image.verify()
    assert drawn == ["bars", "bars", "curve", "curve"]


@pytest.mark.parametrize("sides", [[8], [8, 8, 5000], [0, 30, 31]])
def test_sizes_are_drawn_whatever_they_are(tmp_path: Path, sides: list[int]) -> None:
    plot_sizes(np.array(sides, np.uint32), np.array(sides, np.uint32), tmp_path / "sizes.png")
    with Image.open(tmp_path / "sizes.png") as image:
        image.verify()
        assert image.format == "PNG" and min(image.size) > 100


def test_no_sizes_are_no_picture(tmp_path: Path) -> None:
    plot_sizes(np.zeros(3, np.uint32), np.zeros(3, np.uint32), tmp_path / "sizes.png")
    assert list(tmp_path.iterdir()) == []
