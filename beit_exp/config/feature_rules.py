"""Laws over the settings of features and of what is made of them."""

from __future__ import annotations

from beit_exp.config.rule import Rule


def are_blocks(numbers: list[int], depth: int) -> bool:
    """Whether these name blocks of a network, counted as Python does, and none twice."""
    are_there = all(-depth <= number < depth for number in numbers)
    return are_there and len({number % depth for number in numbers}) == len(numbers)


FEATURE_RULES = (
    Rule(
        ("features.blocks", "model.depth"),
        are_blocks,
        "must be numbers of different blocks, from 0 to model.depth - 1 or from -model.depth to -1",
    ),
    Rule(
        ("features.pooling", "task"),
        lambda pooling, task: pooling != "tokens" or task not in ("probe", "pretrain"),
        "must be cls, mean, both or attention but for task=features: one row an image",
    ),
    Rule(
        ("dataset.multi_label", "task", "images", "probe.every_epochs"),
        lambda multi_label, task, images, every: (
            not multi_label
            or not (
                task == "probe"
                or (task == "features" and images is None)
                or (task == "pretrain" and every is not None)
            )
        ),
        "must be false for task=probe, for task=features without images and for "
        "probe.every_epochs, which take one label an image",
    ),
    Rule(
        ("probe.blocks", "model.depth"),
        lambda blocks, depth: blocks == "all" or are_blocks(blocks, depth),
        "must be all, or numbers of different blocks as in features.blocks",
    ),
    Rule(
        ("probe.every_epochs", "task"),
        lambda every, task: every is None or task != "finetune",
        "must be null for task=finetune, which measures val/top1",
    ),
    Rule(
        ("probe.every_epochs", "train.eval_every_epochs", "task"),
        lambda every, evaluation, task: task != "pretrain" or (every or 0) % evaluation == 0,
        "must be null or a multiple of train.eval_every_epochs: it is measured in evaluations",
    ),
    Rule(
        ("probe.every_epochs", "train.eval_every_epochs", "objective", "task"),
        lambda every, evaluation, objective, task: (
            task != "pretrain" or objective != "val/knn_top1" or every == evaluation
        ),
        "must be train.eval_every_epochs where the objective is val/knn_top1",
    ),
    Rule(
        ("features.blocks", "probe.every_epochs", "task"),
        lambda blocks, every, task: task != "pretrain" or every is None or len(blocks) == 1,
        "must be one block for task=pretrain, where probe.every_epochs is given",
    ),
    *(
        Rule(
            (f"probe.{key}",),
            lambda values: len(set(values)) == len(values),
            "must hold no value twice",
        )
        for key in ("parts", "neighbours", "inverse_regularisation", "few_shot")
    ),
)
