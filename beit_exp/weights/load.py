"""Weights set into a network: read under our names (`read.py`), then fitted to it (`fit.py`)."""

from __future__ import annotations

import logging
from pathlib import Path

from mindspore import Tensor, nn

from beit_exp.config.schema import CheckpointKind
from beit_exp.train.checkpoint import read_state
from beit_exp.weights.fit import BESIDE_BLOCKS, Outcome, fit_to
from beit_exp.weights.model_settings import are_multi_label
from beit_exp.weights.names import Arrays
from beit_exp.weights.read import read_weights
from beit_exp.weights.source import Source, find_source

logger = logging.getLogger(__name__)


def load_pretrained(
    network: nn.Cell, place: str, *, kind: CheckpointKind = "best", multi_label: bool = False
) -> Outcome:
    """Set the network from `model.pretrained`; the head and the final norm may be new.

    A head that was trained for one label an image says nothing of several, nor the other way round,
    so it stays new. `UserError` if anything else of the network is not in the file or does not fit.
    """
    source = find_source(place, kind)
    parameters = network.get_parameters()
    new = {each: each.asnumpy().copy() for each in parameters if each.name.startswith("head.")}
    outcome = _load(network, source, may_be_new=("head.", "fc_norm."))
    if are_multi_label(source.path) not in (None, multi_label):
        for parameter, array in new.items():
            parameter.set_data(Tensor(array))
            if parameter.name in outcome.loaded:
                outcome.loaded.remove(parameter.name)
                outcome.dropped.append(f"{parameter.name} (of the other dataset.multi_label)")
                outcome.new.append(parameter.name)
    logger.info("weights of %s\n%s", source, outcome.table())
    return outcome


def load_trained(network: nn.Cell, place: str, *, kind: CheckpointKind = "best") -> Outcome:
    """Set the whole network, head included, from `checkpoint`; `UserError` if one does not fit."""
    source = find_source(place, kind)
    outcome = _load(network, source, may_be_new=())
    logger.info("weights of %s", source)
    return outcome


def load_backbone(network: nn.Cell, place: str, *, kind: CheckpointKind = "best") -> Outcome:
    """Set a network that ends with its blocks from `checkpoint`, of whatever training that is.

    `UserError` if a block of it, or what stands before, is not in the file or does not fit.
    """
    source = find_source(place, kind)
    found = read_weights(source.path, is_averaged=source.is_averaged)
    read = {name: array for name, array in found.items() if not name.startswith(BESIDE_BLOCKS)}
    logger.info("weights of %s", source)
    return set_weights(network, read, path=source.path)


def saved_classes(place: str, *, kind: CheckpointKind = "best") -> list[str]:
    """The class names that a checkpoint of ours was trained on; none for a foreign file."""
    path = find_source(place, kind).path
    state = read_state(path) if path.suffix == ".safetensors" else None
    return list((state or {}).get("classes", []))


def set_weights(
    network: nn.Cell, found: Arrays, *, path: Path, may_be_new: tuple[str, ...] = ()
) -> Outcome:
    """Set the network from arrays under our names, which are those of the file at `path`."""
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    arrays, outcome = fit_to(shapes, found, path=path, may_be_new=may_be_new)
    for name, array in arrays.items():
        parameters[name].set_data(Tensor(array))
    return outcome


def _load(network: nn.Cell, source: Source, *, may_be_new: tuple[str, ...]) -> Outcome:
    found = read_weights(source.path, is_averaged=source.is_averaged)
    return set_weights(network, found, path=source.path, may_be_new=may_be_new)
