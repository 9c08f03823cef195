"""The network of a checkpoint, for the tasks that do not train."""

from __future__ import annotations

from beit_exp.config.schema import Config
from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.precision import Precision
from beit_exp.weights.load import load_trained, saved_classes


def load_network(cfg: Config, precision: Precision, *, portable: bool = False) -> BEiT:
    """The network of `cfg.model` with the weights of `cfg.checkpoint`, ready for inference."""
    network = build_model(
        cfg.model,
        num_classes=cfg.dataset.num_classes,
        precision=precision,
        seed=cfg.seed,
        portable=portable,
    )
    load_trained(network, str(cfg.checkpoint))
    network.set_train(False)
    return network


def class_names(cfg: Config) -> list[str]:
    """The classes that the checkpoint was trained on, or their numbers where it does not say."""
    return saved_classes(str(cfg.checkpoint)) or [
        str(number) for number in range(cfg.dataset.num_classes)
    ]
