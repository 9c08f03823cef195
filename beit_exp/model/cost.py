"""What a network costs, counted from its settings: parameters, arithmetic, memory in training."""

from __future__ import annotations

from beit_exp.config.schema import Config, ModelConfig

TABLE_OF_CLASS_TOKEN = 3  # rows of a relative position table that belong to it
FLOAT32, FLOAT16 = 4, 2  # bytes of a number


def parameter_count(cfg: ModelConfig, *, num_classes: int) -> int:
    """Of the network for classification."""
    width, grid = cfg.embed_dim, cfg.image_size // cfg.patch_size
    hidden = int(width * cfg.mlp_ratio)
    table = ((2 * grid - 1) ** 2 + TABLE_OF_CLASS_TOKEN) * cfg.num_heads
    attention = 4 * width**2 + 3 * width  # q, v and the projection have biases, k has none
    mlp = 2 * width * hidden + hidden + width
    scales = 0 if cfg.layer_scale_init_value is None else 2 * width
    block = attention + mlp + 4 * width + scales + (table if cfg.rel_pos_bias else 0)
    patches = (3 * cfg.patch_size**2 + 1) * width
    positions = width * (grid**2 + 1) if cfg.abs_pos_emb else 0
    positions += table if cfg.shared_rel_pos_bias else 0
    head = 2 * width + (width + 1) * num_classes
    return patches + width + positions + cfg.depth * block + head


def forward_flops(cfg: ModelConfig, *, num_classes: int) -> int:
    """Additions and multiplications in an image's forward pass.

    Only those of matrix products, beside which all else is negligible.
    """
    patches, width = (cfg.image_size // cfg.patch_size) ** 2, cfg.embed_dim
    tokens, hidden = patches + 1, int(width * cfg.mlp_ratio)
    projection = patches * 3 * cfg.patch_size**2 * width
    block = tokens * (4 * width**2 + 2 * width * hidden) + 2 * tokens**2 * width
    return 2 * (projection + cfg.depth * block + width * num_classes)


def training_bytes(cfg: Config, *, product: int, layer: int, moments: int) -> int:
    """Bytes that a device holds while it fine-tunes.

    Parameters, moments, gradients, and what the backward pass reads. `product` and `layer` are the
    bytes of an operand of a product and of a number that layers hand on, `moments` the tensors that
    the optimizer keeps of each parameter (`optim.state`). Workspaces of operators and the
    framework's own memory come on top; on a CPU the growth with the batch was 15 % above this.
    """
    parameters = parameter_count(cfg.model, num_classes=cfg.dataset.num_classes)
    kept = (2 + moments) * FLOAT32  # besides, the parameter and the gradient
    kept += FLOAT32 * (cfg.train.accumulate_steps > 1) + FLOAT32 * (cfg.train.ema_decay is not None)
    kept += product if product < FLOAT32 else 0  # the operands made of parameters
    tokens = (cfg.model.image_size // cfg.model.patch_size) ** 2 + 1
    width, hidden = cfg.model.embed_dim, int(cfg.model.embed_dim * cfg.model.mlp_ratio)
    inputs = layer * tokens * width
    # Inputs of both norms, both branches, input of GELU; operands of q, k and v, of scores and
    # sums, of the projection and of both layers of the MLP; attention weights.
    block = layer * tokens * (4 * width + hidden)
    block += product * (tokens * (7 * width + hidden) + cfg.model.num_heads * tokens**2)
    blocks = cfg.model.depth * inputs + block if cfg.train.recompute else cfg.model.depth * block
    return kept * parameters + cfg.train.batch_size * blocks
