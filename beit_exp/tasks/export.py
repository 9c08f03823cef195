"""Export of a checkpoint for other programs; each file is read back and compared before it is
called done.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from typing_extensions import assert_never

from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime
from beit_exp.inference.network import class_names, load_network
from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.precision import Precision, build_precision
from beit_exp.randomness import Stream, generator
from beit_exp.storage.files import replacing, write_atomically
from beit_exp.tracking.tracker import Tracker
from beit_exp.weights.hugging_face import model_config, preprocessor_config
from beit_exp.weights.load import load_trained, save_weights
from beit_exp.weights.names import to_hugging_face, to_official

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5
TRIED_BATCHES = (1, 7)

Network = Callable[[np.ndarray], np.ndarray]  # images -> logits


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Write the network in each of `export.formats`, and `preprocess.json`, into the
    run directory.
    """
    network = load_network(cfg, float32(runtime), portable=True)
    metrics: dict[str, float] = {}
    for form in cfg.export.formats:
        path = run_dir / ("huggingface" if form == "huggingface" else f"{cfg.model.arch}.{form}")
        match form:
            case "mindir":
                reloaded = export_mindir(network, cfg, path)
            case "onnx":
                reloaded = export_onnx(network, cfg, path)
            case "safetensors":
                reloaded = export_safetensors(network, cfg, path, runtime)
            case "huggingface":
                reloaded = export_hugging_face(network, cfg, path, runtime)
            case "air":
                export_air(network, cfg, path, runtime)
                logger.info(
                    "%s written; nothing here can read it back, so it is not compared", path
                )
                continue
            case _:
                assert_never(form)
        metrics[f"export/{form}_difference"] = worst = largest_difference(network, reloaded, cfg)
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


def float32(runtime: Runtime) -> Precision:
    """Exports hold float32 whatever `hardware.amp_level` the network was trained with."""
    return build_precision("O0", half=runtime.half)


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
    }


def largest_difference(network: BEiT, other: Network, cfg: Config) -> float:
    """Of the logits of two networks on random images, in several batch sizes."""
    found = []
    for batch in TRIED_BATCHES:
        shape = (batch, 3, cfg.model.image_size, cfg.model.image_size)
        images = generator(cfg.seed, Stream.sample, batch).standard_normal(shape, np.float32)
        found.append(float(np.abs(other(images) - network(Tensor(images)).asnumpy()).max()))
    return max(found)


def export_mindir(network: BEiT, cfg: Config, path: Path) -> Network:
    """MindSpore's own format, for any batch size."""
    _export(network, cfg, path, "MINDIR")
    cell = nn.GraphCell(ms.load(str(path)))
    return lambda images: cell(Tensor(images)).asnumpy()


def export_onnx(network: BEiT, cfg: Config, path: Path) -> Network:
    """ONNX, for any batch size, read back by onnxruntime."""
    from onnxruntime import InferenceSession

    from beit_exp.weights.onnx_graph import build_onnx

    model = build_onnx(cfg.model, _arrays(network))
    write_atomically(path, model.SerializeToString())
    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["logits"], {"images": images})[0])


def export_safetensors(network: BEiT, cfg: Config, path: Path, runtime: Runtime) -> Network:
    """The weights under the official names, which are timm's too."""
    save_weights(to_official(_arrays(network)), path)
    return _reloaded(path, cfg, runtime)


def export_hugging_face(network: BEiT, cfg: Config, folder: Path, runtime: Runtime) -> Network:
    """A folder that transformers' `AutoModelForImageClassification` and
    `AutoImageProcessor` load.
    """
    described = {
        "config.json": model_config(cfg.model, class_names(cfg)),
        "preprocessor_config.json": preprocessor_config(
            cfg.dataset, image_size=cfg.model.image_size
        ),
    }
    for name, content in described.items():
        write_atomically(folder / name, json.dumps(content, indent=1).encode())
    save_weights(to_hugging_face(_arrays(network)), folder / "model.safetensors")
    return _reloaded(folder / "model.safetensors", cfg, runtime)


def export_air(network: BEiT, cfg: Config, path: Path, runtime: Runtime) -> None:
    """Ascend's offline format, which MindSpore writes on an Ascend card alone."""
    if runtime.device_target != "Ascend":
        raise UserError(
            "export.formats: air is written on an Ascend card alone; mindir and onnx run anywhere"
        )
    _export(network, cfg, path, "AIR")


def _reloaded(path: Path, cfg: Config, runtime: Runtime) -> Network:
    network = build_model(
        cfg.model,
        num_classes=cfg.dataset.num_classes,
        precision=float32(runtime),
        seed=cfg.seed,
        portable=True,
    )
    load_trained(network, str(path))
    network.set_train(False)
    return lambda images: network(Tensor(images)).asnumpy()


def _arrays(network: BEiT) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


def _export(network: BEiT, cfg: Config, path: Path, form: str) -> None:
    side = cfg.model.image_size
    with replacing(path) as temporary:
        # The exporter insists on the ending
        stem = temporary.with_name(f"{temporary.name}{path.suffix}")
        images = Tensor(shape=[None, 3, side, side], dtype=ms.float32)
        ms.export(network, images, file_name=str(stem), file_format=form)
        stem.replace(temporary)
