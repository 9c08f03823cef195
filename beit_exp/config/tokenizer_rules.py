"""Laws over the settings of visual tokenizers: their shapes, their training, who needs one."""

from __future__ import annotations

from beit_exp.config.rule import Rule
from beit_exp.config.task_name import TaskName
from beit_exp.config.tokenizing import TokenizerKind


def trains(task: TaskName, kind: TokenizerKind, of_kind: TokenizerKind) -> bool:
    """Whether a run trains a tokenizer of that kind."""
    return task == "train_tokenizer" and kind == of_kind


TOKENIZER_RULES = (
    Rule(
        ("tokenizer.hidden",),
        lambda hidden: hidden % 4 == 0,
        "must be a multiple of 4: a block's inner layers are a quarter as wide",
    ),
    Rule(
        ("tokenizer.weights", "task"),
        lambda weights, task: weights is None or task != "train_tokenizer",
        "must be null for task=train_tokenizer, which makes them",
    ),
    Rule(
        ("tokenizer.weights", "tokenizer.training", "task"),
        lambda weights, training, task: task != "pretrain" or weights is not None or bool(training),
        "must name the weights of a tokenizer for task=pretrain (conf/experiment/PRETRAINING.md), "
        "unless tokenizer.training says how to train one first",
    ),
    Rule(
        ("tokenizer.temperature",),
        lambda temperature: temperature[0] >= temperature[1],
        "must fall, from the first step's to the last one's",
    ),
    Rule(
        ("hardware.amp_level", "task", "tokenizer.kind"),
        lambda level, task, kind: level == "O0" or not trains(task, kind, "dvae"),
        "must be O0 for task=train_tokenizer with tokenizer.kind=dvae: "
        "the likelihood of pixels needs float32",
    ),
    Rule(
        ("optimizer.layer_decay", "task"),
        lambda decay, task: decay == 1 or task != "train_tokenizer",
        "must be 1 for task=train_tokenizer, all of whose layers learn at one rate",
    ),
    Rule(
        ("train.recompute", "task", "tokenizer.kind"),
        lambda recompute, task, kind: not recompute or not trains(task, kind, "dvae"),
        "must be false for task=train_tokenizer with tokenizer.kind=dvae, "
        "whose network has no transformer blocks",
    ),
    Rule(
        ("tokenizer.embed_dim", "tokenizer.num_heads"),
        lambda width, heads: width % heads == 0,
        "must be a multiple of tokenizer.num_heads",
    ),
    Rule(
        ("tokenizer.teacher", "tokenizer.kind"),
        lambda teacher, kind: teacher is None or kind == "vqkd",
        "must be null but for tokenizer.kind=vqkd: DALL-E's tokenizer learns from pixels alone",
    ),
    Rule(
        ("tokenizer.teacher", "tokenizer.kind", "task"),
        lambda teacher, kind, task: teacher is not None or not trains(task, kind, "vqkd"),
        "must name a run directory or a weights file for task=train_tokenizer with "
        "tokenizer.kind=vqkd (conf/experiment/PRETRAINING.md)",
    ),
    Rule(
        ("tokenizer.teacher_mean", "tokenizer.teacher_std"),
        lambda mean, std: (mean is None) == (std is None),
        "must be null where tokenizer.teacher_std is, and given where that is",
    ),
    Rule(
        ("train.accumulate_steps", "task", "tokenizer.kind"),
        lambda steps, task, kind: steps == 1 or not trains(task, kind, "vqkd"),
        "must be 1 for task=train_tokenizer with tokenizer.kind=vqkd: "
        "its codes move with every micro-step, by what the one batch holds",
    ),
    Rule(
        ("train.ema_decay", "task", "tokenizer.kind"),
        lambda decay, task, kind: decay is None or not trains(task, kind, "vqkd"),
        "must be null for task=train_tokenizer with tokenizer.kind=vqkd: "
        "averaged weights would belong to other codes",
    ),
)
