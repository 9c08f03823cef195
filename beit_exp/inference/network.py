"""The network of a checkpoint, for the tasks that do not train."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mindspore import Tensor, nn

from beit_exp.config.schema import Config
from beit_exp.hardware.device import Runtime
from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.precision import Precision, build_precision
from beit_exp.weights.load import load_trained, saved_classes

Logits = Callable[[np.ndarray], np.ndarray]  # (B, 3, S, S) normalised images -> (B, K)


def load_network(cfg: Config, runtime: Runtime) -> BEiT:
    """The network of `cfg.model` with the weights of `cfg.checkpoint`, ready for inference."""
    return _load(cfg, build_precision(cfg.hardware.amp_level, half=runtime.half), portable=False)


def load_portable_network(cfg: Config, runtime: Runtime) -> BEiT:
    """The same in float32, whatever `hardware.amp_level` says, of operators that exporters know."""
    return _load(cfg, build_precision("O0", half=runtime.half), portable=True)


def build_network(cfg: Config, runtime: Runtime) -> BEiT:
    """The network of `cfg.model` without weights of anybody's."""
    return _build(cfg, build_precision(cfg.hardware.amp_level, half=runtime.half), portable=False)


def as_function(network: nn.Cell) -> Logits:
    """A network as a function of arrays."""
    return lambda images: network(Tensor(images)).asnumpy()


def class_names(cfg: Config) -> list[str]:
    """The classes that the checkpoint was trained on, or their numbers where it does not say."""
    return saved_classes(str(cfg.checkpoint), kind=cfg.checkpoint_kind) or [
        str(number) for number in range(cfg.dataset.num_classes)
    ]


def _build(cfg: Config, precision: Precision, *, portable: bool) -> BEiT:
    return build_model(
        cfg.model,
        num_classes=cfg.dataset.num_classes,
        precision=precision,
        seed=cfg.seed,
        portable=portable,
    )


def _load(cfg: Config, precision: Precision, *, portable: bool) -> BEiT:
    network = _build(cfg, precision, portable=portable)
    load_trained(network, str(cfg.checkpoint), kind=cfg.checkpoint_kind)
    network.set_train(False)
    return network
