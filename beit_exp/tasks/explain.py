"""Pictures of where a network looks, and of the bias that positions give it."""

from __future__ import annotations

import logging
from pathlib import Path

import mindspore as ms
import numpy as np

from beit_exp.config.schema import Config
from beit_exp.data.decoding import load_pixels
from beit_exp.data.transforms import make_eval_transform
from beit_exp.hardware.device import Runtime
from beit_exp.inference.attention import attention_weights, position_bias, rollout
from beit_exp.inference.classes import rank_classes
from beit_exp.inference.images import open_images
from beit_exp.inference.network import class_names, load_network
from beit_exp.report.plots import plot_attention, plot_position_bias
from beit_exp.report.result_files import write_array
from beit_exp.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
SHOWN = 8


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Draw `attention.png` of the first images and `position_bias.png`, in `plots/`.

    The maps of attention stand in `attention.npy`.
    """
    network = load_network(cfg, runtime)
    ms.set_context(mode=ms.PYNATIVE_MODE)  # each block runs once, by itself: nothing to compile for
    transform = make_eval_transform(cfg.dataset, image_size=cfg.model.image_size)
    with open_images(cfg, run_dir) as (found, _):
        images = np.stack([transform(load_pixels(path)) for path in found.paths[:SHOWN]])

    weights_BLHNN, logits = attention_weights(network, images)
    maps = rollout(weights_BLHNN, reads_class_token=cfg.model.pooling == "cls")
    write_array(run_dir / "attention.npy", maps)

    rankings = rank_classes(logits, class_names(cfg), multi_label=cfg.dataset.multi_label)
    titles = [f"{best.classes[0]} {100 * best.probabilities[0]:.0f} %" for best in rankings]
    mean, std = (
        np.array(values, np.float32)[:, None, None]
        for values in (cfg.dataset.mean, cfg.dataset.std)
    )
    plots = run_dir / "plots"
    plot_attention(images * std + mean, maps, titles, plots / "attention.png")
    if bias := position_bias(network):
        plot_position_bias(bias, plots / "position_bias.png")
    for path in sorted(plots.glob("*.png")):
        tracker.log_file(path, folder="plots")
    tracker.log_file(run_dir / "attention.npy")
    logger.info("%d images explained: %s", len(images), plots)
    return {"explain/images": len(images)}
