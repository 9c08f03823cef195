"""Export of a checkpoint as MindIR, reloaded and compared before it is called done."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from beit_exp.config import Config
from beit_exp.files import replacing, write_atomically
from beit_exp.hardware import Runtime
from beit_exp.model.gradients import open_batch
from beit_exp.randomness import Stream, generator
from beit_exp.tracking import Tracker
from beit_exp.trained import class_names, load_network

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5
TRIED_BATCHES = (1, 3)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Write `<arch>.mindir` (any batch size) and `preprocess.json` into the run directory."""
    network = load_network(cfg, runtime)
    open_batch(network)
    path = run_dir / f"{cfg.model.arch}.mindir"
    side = cfg.model.image_size
    with replacing(path) as temporary:
        stem = temporary.with_name(f"{temporary.name}.mindir")  # the exporter insists on the ending
        ms.export(
            network, Tensor(shape=[None, 3, side, side], dtype=ms.float32), file_name=str(stem), file_format="MINDIR"
        )
        stem.replace(temporary)
    reloaded = nn.GraphCell(ms.load(str(path)))
    worst = 0.0
    for batch in TRIED_BATCHES:
        images = Tensor(generator(cfg.seed, Stream.sample, batch).standard_normal((batch, 3, side, side), np.float32))
        worst = max(worst, float(np.abs(reloaded(images).asnumpy() - network(images).asnumpy()).max()))
    if not worst <= TOLERANCE:
        raise RuntimeError(f"{path} is wrong: its logits differ from the network's by {worst:.2g}")
    preprocess = {
        "input": ["batch", 3, side, side],
        "colour": "RGB, divided by 255",
        "crop_pct": cfg.dataset.crop_pct,
        "interpolation": cfg.dataset.interpolation,
        "mean": cfg.dataset.mean,
        "std": cfg.dataset.std,
        "classes": class_names(cfg),
    }
    write_atomically(run_dir / "preprocess.json", json.dumps(preprocess, indent=1).encode())
    for name in (path.name, "preprocess.json"):
        tracker.log_file(run_dir / name)
    logger.info("%s written; largest difference of its logits, reloaded: %.2g", path, worst)
    return {"export/largest_difference": worst}
