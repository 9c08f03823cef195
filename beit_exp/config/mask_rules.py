"""Laws over the settings of masked image modelling: what is hidden, and what predicts it."""

from __future__ import annotations

from beit_exp.config.rule import Rule

MASK_RULES = (
    Rule(
        ("mask.num_mask_patches", "model.image_size", "model.patch_size", "task"),
        lambda count, size, patch, task: task != "pretrain" or count < (size // patch) ** 2,
        "must be less than the number of patches, (model.image_size / model.patch_size)²",
    ),
    Rule(
        ("mask.min_mask_patches_per_block", "mask.num_mask_patches", "task"),
        lambda least, count, task: task != "pretrain" or least <= count,
        "must be at most mask.num_mask_patches",
    ),
    Rule(
        ("mask.early_block", "task"),
        # Not of a checkpoint's tasks and a tokenizer's training: a pre-training hands it on to them
        lambda early, task: early is None or task not in ("finetune", "benchmark"),
        "must be null for task=finetune and task=benchmark: "
        "the blocks after it predict hidden patches alone",
    ),
    Rule(
        ("mask.early_block", "model.depth"),
        lambda early, depth: early is None or early <= depth,
        "must be at most model.depth",
    ),
    Rule(
        ("mask.head_blocks", "mask.early_block"),
        lambda blocks, early: (blocks is None) == (early is None),
        "must be null where mask.early_block is, and a number where that is one",
    ),
    Rule(
        ("mask.shared_lm_head", "mask.early_block"),
        lambda shared, early: shared or early is not None,
        "must be true unless mask.early_block adds blocks that need a head",
    ),
)
