"""Which parameter learns how fast: layer-wise learning-rate decay and weight decay. NumPy only.

Source: unilm/beit optim_factory.py, `get_num_layer_for_vit` and `get_parameter_groups`.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_LAYER = {"cls_token", "mask_token", "pos_embed"}
NO_WEIGHT_DECAY = {"cls_token", "pos_embed"}
REL_POS_TABLE = "relative_position_bias_table"


@dataclass(frozen=True)
class Group:
    """Parameters with one learning-rate scale and one weight decay."""

    lr_scale: float
    weight_decay: float
    names: tuple[str, ...]


def layer_of(name: str, *, depth: int) -> int:
    """0 for what makes the tokens, i + 1 for block i, depth + 1 for what is shared or follows."""
    if name in FIRST_LAYER or name.startswith("patch_embed."):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def lr_scale(name: str, *, depth: int, decay: float) -> float:
    """The head's layer learns at full rate; each layer below is multiplied by `decay` once more."""
    return decay ** (depth + 1 - layer_of(name, depth=depth))


def has_weight_decay(name: str, *, ndim: int, decay_rel_pos_bias: bool) -> bool:
    """All but vectors (biases, norms, layer scales), the class and position embeddings, also of a
    part of a network, and, if so said (--disable_weight_decay_on_rel_pos_bias), the tables of
    relative positions.
    """
    if name.endswith(REL_POS_TABLE) and not decay_rel_pos_bias:
        return False
    is_embedding = name.rpartition(".")[2] in NO_WEIGHT_DECAY
    return ndim > 1 and not name.endswith(".bias") and not is_embedding


def make_groups(
    parameters: list[tuple[str, int]],
    *,
    depth: int,
    layer_decay: float,
    weight_decay: float,
    decay_rel_pos_bias: bool,
) -> list[Group]:
    """Groups that hold every (name, number of dimensions) once, from the lowest layer up."""
    members: dict[tuple[int, bool], list[str]] = {}
    for name, ndim in parameters:
        decays = has_weight_decay(name, ndim=ndim, decay_rel_pos_bias=decay_rel_pos_bias)
        key = (layer_of(name, depth=depth), decays)
        members.setdefault(key, []).append(name)
    return [
        Group(
            lr_scale(names[0], depth=depth, decay=layer_decay),
            weight_decay if decays else 0.0,
            tuple(names),
        )
        for (_, decays), names in sorted(members.items())
    ]
