"""Pictures of runs, and what a tracking store missed of them.

python -m beit_exp.report sync RUN_DIR ...      send what metrics.jsonl has and the store lacks
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp import config
from beit_exp.config import UserError
from beit_exp.files import replacing
from beit_exp.optim.groups import Group
from beit_exp.tracking import sync


def plot_schedule(schedule: np.ndarray, groups: list[Group], *, steps_per_epoch: int, path: Path) -> None:
    """The learning rate of every layer over the epochs."""
    figure, axes = _new_figure()
    epochs = np.arange(len(schedule)) / steps_per_epoch
    scales = sorted({group.lr_scale for group in groups})
    for scale in scales:
        axes.plot(epochs, schedule * scale, color=_shade(scales.index(scale), len(scales)), label=f"x {scale:.3g}")
    axes.set(xlabel="epoch", ylabel="learning rate", title="learning rate per layer group")
    if len(scales) > 1:
        axes.legend(fontsize="x-small", ncols=2)
    _save(figure, path)


def plot_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Loss and validation accuracy over the epochs."""
    figure, axes = _new_figure(columns=2)
    for name in ("train/loss", "val/loss"):
        axes[0].plot(*_series(records, name), label=name)
    for name in ("val/top1", "val/top5"):
        axes[1].plot(*_series(records, name), marker=".", label=name)
    axes[0].set(xlabel="epoch", ylabel="cross-entropy")
    axes[1].set(xlabel="epoch", ylabel="percent")
    for part in axes:
        part.legend()
    _save(figure, path)


def plot_batch(images: np.ndarray, *, mean: list[float], std: list[float], path: Path) -> None:
    """(B, 3, S, S) normalised images, as the network sees them."""
    count = min(32, len(images))
    figure, axes = _new_figure(columns=8, rows=-(-count // 8))
    pixels = images[:count].transpose(0, 2, 3, 1) * np.array(std) + np.array(mean)
    for part in axes.flat:
        part.axis("off")
    for part, picture in zip(axes.flat, pixels, strict=False):
        part.imshow(np.clip(picture, 0, 1))
    _save(figure, path)


def summary(metrics: dict[str, float], *, run_dir: Path, uri: str, is_quickstart: bool) -> str:
    """What to say at the end of a run: the result, where it is, and what to do next."""
    result = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name.startswith("val/"))
    lines = [
        f"result    {result}",
        f"files     {run_dir}",
        f"compare   mlflow ui --backend-store-uri {uri}",
        f"evaluate  python launch.py task=evaluate checkpoint={run_dir}",
    ]
    if is_quickstart:
        lines.append("ImageNet  python launch.py experiment=imagenet_base dataset.data_url=/path/to/imagenet")
    return "\n".join(lines)


def _series(records: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    having = [record for record in records if name in record]
    return [record["epoch"] for record in having], [record[name] for record in having]


def _new_figure(*, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # half a second to import; no pyplot, so no display and no global state

    figure = Figure(figsize=(max(6.4, 1.3 * columns * (3.5 if columns == 2 else 1)), max(4.0, 1.3 * rows)))
    figure.set_layout_engine("constrained")
    return figure, figure.subplots(rows, columns)


def _shade(index: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](index / max(1, count - 1))


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main(arguments: list[str]) -> int:
    """Exit status 0: done; 2: something the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m beit_exp.report", description="Reports of runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("sync", help="send to the tracking store what it lacks")
    command.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR")
    for run_dir in parser.parse_args(arguments).run_dirs:
        try:
            cfg = config.load(run_dir / "config.yaml")
            print(f"{run_dir}: {sync(cfg, run_dir)} metrics sent to {cfg.tracking.uri}")
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        except Exception as error:  # a store may raise anything; it is dead again
            print(f"{run_dir}: the tracking store failed ({type(error).__name__}); try again later", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
