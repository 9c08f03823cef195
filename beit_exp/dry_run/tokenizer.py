"""A tokenizer for a dry run of a pre-training whose own is not there: random weights, the same
graph.
"""

from __future__ import annotations

from pathlib import Path

from beit_exp.config.schema import Config
from beit_exp.storage.remote import is_remote


def lacks_tokenizer(cfg: Config) -> bool:
    """Whether the weights that the settings name are not on this machine."""
    place = cfg.tokenizer.weights
    return (
        cfg.task == "pretrain"
        and place is not None
        and not is_remote(place)
        and not Path(place).exists()
    )


def make_tokenizer(cfg: Config, path: Path) -> None:
    """Write an encoder of the settings' shape, with random weights."""
    from beit_exp.model.visual_tokenizer import build_tokenizer
    from beit_exp.train.checkpoint import save_checkpoint
    from beit_exp.weights.read import PREFIX

    network = build_tokenizer(cfg.tokenizer, has_decoder=False, seed=cfg.seed)
    tensors = {PREFIX + parameter.name: parameter for parameter in network.get_parameters()}
    save_checkpoint(path, tensors, {})
