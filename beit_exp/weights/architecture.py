"""What the shapes of a network's tensors tell of its settings."""

from __future__ import annotations

import json
from typing import Any

from beit_exp.weights.names import TABLE

Shapes = dict[str, tuple[int, ...]]
SHARED_TABLE = f"rel_pos_bias.{TABLE}"
LAYER_SCALE = 0.1  # stands for any: the tensors hold its values, and the setting begins them alone


def architecture(shapes: Shapes) -> dict[str, Any]:
    """Settings of the group `model` that tensors under our names tell, by name.

    Heads stand in a table of relative positions alone, and the pooling in the final norm.
    """
    numbers = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    blocks = sorted(int(number) for number in numbers if number.isdecimal())
    first = f"blocks.{blocks[0]}." if blocks else "blocks."
    inside = {
        name.removeprefix(first): shape for name, shape in shapes.items() if name.startswith(first)
    }
    own_table = inside.get(f"rel_pos.{TABLE}")
    found: dict[str, Any] = {
        "depth": len(blocks),
        "rel_pos_bias": own_table is not None,
        "shared_rel_pos_bias": SHARED_TABLE in shapes,
        "abs_pos_emb": "pos_embed" in shapes,
        "layer_scale_init_value": LAYER_SCALE if "gamma_1" in inside else None,
    }
    kernel, hidden = shapes.get("patch_embed.proj.weight"), inside.get("mlp.fc1.weight")
    if kernel is not None and len(kernel) == 4:
        found |= {"embed_dim": kernel[0], "patch_size": kernel[2]}
    if hidden is not None and len(hidden) == 2:
        found["mlp_ratio"] = hidden[0] / max(hidden[1], 1)
    table = own_table or shapes.get(SHARED_TABLE)
    if table is not None and len(table) == 2:
        found["num_heads"] = table[1]
    if "head.weight" in shapes:
        found["pooling"] = "mean" if "fc_norm.weight" in shapes else "cls"
    return found


def settings_that_fit(file: Shapes, network: Shapes) -> list[str]:
    """Overrides that bring a network's settings to what a file's tensors tell."""
    wanted, given = architecture(file), architecture(network)
    if not {"embed_dim", "mlp_ratio"} <= wanted.keys():  # no BEiT
        return []
    return [
        f"model.{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in wanted.items()
        if name not in given or given[name] != value
    ]
