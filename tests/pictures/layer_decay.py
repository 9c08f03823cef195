"""How fast each layer of BEiT-base learns under layer-wise learning-rate decay."""

from __future__ import annotations

from settings import make_config

from beit_exp.optim.groups import lr_scale
from pictures.chart import as_svg, new_chart
from pictures.palette import Palette

DECAYS = (0.85, 0.75, 0.65)
NAMES = (
    "patch_embed.proj.weight",
    *(f"blocks.{number}.gamma_1" for number in range(12)),
    "head.weight",
)


def scales(decay: float) -> list[float]:
    """The learning-rate scale of each layer, from the embedding to the head."""
    depth = make_config("model=beit_base_patch16_224").model.depth
    return [lr_scale(name, depth=depth, decay=decay) for name in NAMES]


def draw(palette: Palette) -> str:
    """The SVG of the chart."""
    title = "Learning rate of each layer of BEiT-base, as a share of the head's"
    with new_chart(palette, height=4.6) as figure:
        axes = figure.subplots()
        for decay, color in zip(DECAYS, palette.series, strict=False):
            values = scales(decay)
            axes.plot(values, marker="o", color=color)
            axes.annotate(
                f"layer_decay={decay}",
                (2.5, values[2] * 1.5),
                color=color,
                ha="right",
                va="bottom",
                fontweight="bold",
            )
            axes.annotate(
                f"{values[0]:.2g}",
                (0, values[0]),
                xytext=(-8, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=color,
            )
        axes.set_yscale("log")
        axes.set_ylim(2.5e-3, 1.3)
        axes.set_xlim(-1.3, len(NAMES) - 0.6)
        axes.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
        axes.set_xticks(
            range(len(NAMES)), ["patches,\nclass token", *map(str, range(1, 13)), "head"]
        )
        axes.set(xlabel="block", title=title)
        return as_svg(figure, title)
