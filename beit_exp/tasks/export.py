"""Export of a checkpoint for other programs; no file is called done before it is read back."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime
from beit_exp.inference.network import Logits, as_function, class_names, load_portable_network
from beit_exp.model.beit import BEiT
from beit_exp.randomness import Stream, generator
from beit_exp.storage.files import write_atomically
from beit_exp.tracking.tracker import Tracker
from beit_exp.weights.hugging_face import write_folder
from beit_exp.weights.mindspore_graph import read_mindir, write_graph
from beit_exp.weights.names import to_official
from beit_exp.weights.read import save_weights
from beit_exp.weights.source import HUGGING_FACE_FILE

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5
TRIED_BATCHES = (1, 7)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Write the network in each of `export.formats`, and `preprocess.json`.

    Exports hold float32 whatever `hardware.amp_level` the network was trained with. Each is read
    back; one whose logits differ from the network's is removed, and ends the task.
    """
    network = load_portable_network(cfg, runtime)
    arrays = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    metrics: dict[str, float] = {}
    for form in cfg.export.formats:
        path = run_dir / ("huggingface" if form == "huggingface" else f"{cfg.model.arch}.{form}")
        match form:
            case "mindir":
                write_graph(network, path, image_size=cfg.model.image_size, form="MINDIR")
                reloaded = as_function(read_mindir(path))
            case "onnx":
                from beit_exp.weights.onnx_graph import read_onnx, write_onnx  # optional packages

                write_onnx(cfg.model, arrays, path)
                reloaded = read_onnx(path)
            case "safetensors":  # the official names, which are timm's too
                save_weights(to_official(arrays), path)
                reloaded = load_export(path, cfg, runtime)
            case "huggingface":
                classes = class_names(cfg)
                write_folder(path, arrays, model=cfg.model, dataset=cfg.dataset, classes=classes)
                reloaded = load_export(path / HUGGING_FACE_FILE, cfg, runtime)
            case "air":
                write_air(network, path, cfg, runtime)
                continue
            case _:
                assert_never(form)
        worst = largest_difference(as_function(network), reloaded, cfg)
        metrics[f"export/{form}_difference"] = worst
        if not worst <= TOLERANCE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise RuntimeError(
                f"the {form} export is wrong: its logits differ from the network's by {worst:.2g}"
            )
        logger.info("%s written; largest difference of its logits, read back: %.2g", path, worst)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            tracker.log_file(file, folder=path.name if path.is_dir() else None)
    write_atomically(run_dir / "preprocess.json", json.dumps(preprocessing(cfg), indent=1).encode())
    tracker.log_file(run_dir / "preprocess.json")
    tracker.log(metrics, step=0, epoch=0)
    return metrics


def load_export(path: Path, cfg: Config, runtime: Runtime) -> Logits:
    """The network of a weights file just written, as `checkpoint=` would load it."""
    exported = cfg.model_copy(update={"checkpoint": str(path)})
    return as_function(load_portable_network(exported, runtime))


def write_air(network: BEiT, path: Path, cfg: Config, runtime: Runtime) -> None:
    """Ascend's offline format, which MindSpore writes on an Ascend card alone."""
    if runtime.device_target != "Ascend":
        raise UserError(
            "export.formats: air is written on an Ascend card alone; mindir and onnx run anywhere"
        )
    write_graph(network, path, image_size=cfg.model.image_size, form="AIR")
    logger.info("%s written; nothing here can read it back, so it is not compared", path)


def largest_difference(network: Logits, other: Logits, cfg: Config) -> float:
    """Of the logits of two networks on random images, in several batch sizes."""
    found = []
    for batch in TRIED_BATCHES:
        shape = (batch, 3, cfg.model.image_size, cfg.model.image_size)
        images = generator(cfg.seed, Stream.sample, batch).standard_normal(shape, np.float32)
        found.append(float(np.abs(other(images) - network(images)).max()))
    return max(found)


def preprocessing(cfg: Config) -> dict[str, object]:
    """What happens to an image before the network, and what the classes behind it are called."""
    return {
        "input": ["batch", 3, cfg.model.image_size, cfg.model.image_size],
        "colour": "RGB, divided by 255",
        "crop_pct": cfg.dataset.crop_pct,
        "interpolation": cfg.dataset.interpolation,
        "mean": cfg.dataset.mean,
        "std": cfg.dataset.std,
        "classes": class_names(cfg),
        "probabilities": "sigmoid" if cfg.dataset.multi_label else "softmax",
    }
