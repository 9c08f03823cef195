"""Laws over several settings: which values go together."""

from __future__ import annotations

import math
from typing import get_args

from beit_exp.config.data_rules import DATA_RULES
from beit_exp.config.evaluation_rules import EVALUATION_RULES
from beit_exp.config.feature_rules import FEATURE_RULES
from beit_exp.config.mask_rules import MASK_RULES
from beit_exp.config.rule import Rule
from beit_exp.config.task_name import TaskName
from beit_exp.config.tokenizer_rules import TOKENIZER_RULES
from beit_exp.config.traits import task_traits

# The metrics that each task measures, of those that can be compared
OBJECTIVES = {
    name: task_traits(name).objectives
    for name in get_args(TaskName)
    if task_traits(name).objectives
}

RULES = (
    *DATA_RULES,
    *EVALUATION_RULES,
    *FEATURE_RULES,
    *MASK_RULES,
    *TOKENIZER_RULES,
    Rule(
        ("model.image_size", "model.patch_size"),
        lambda size, patch: size % patch == 0,
        "must be a multiple of model.patch_size",
    ),
    Rule(
        ("model.embed_dim", "model.num_heads"),
        lambda dim, heads: dim % heads == 0,
        "must be a multiple of model.num_heads",
    ),
    Rule(
        ("model.rel_pos_bias", "model.shared_rel_pos_bias"),
        lambda own, shared: not (own and shared),
        "one of the two may be true: a table per block or one shared by all blocks",
    ),
    Rule(
        ("augment.crop_scale",),
        lambda scale: scale is None or scale[0] <= scale[1] <= 1,
        "must be two shares of the area, rising, at most 1; or null for the evaluation's crop",
    ),
    Rule(("augment.crop_ratio",), lambda ratio: ratio[0] <= ratio[1], "must rise"),
    Rule(
        ("augment.cutmix_minmax", "augment.cutmix"),
        lambda minmax, cutmix: minmax is None or (cutmix > 0 and minmax[0] <= minmax[1] <= 1),
        "must be two rising shares of the side, at most 1, and needs augment.cutmix > 0",
    ),
    Rule(
        ("train.batch_size", "augment.mix_up", "augment.cutmix"),
        lambda batch, mixup, cutmix: batch % 2 == 0 or not (mixup or cutmix),
        "must be even while augment.mix_up or augment.cutmix is above 0: images are mixed in pairs",
    ),
    Rule(
        ("scheduler.warmup_length", "scheduler.cooldown_epochs", "train.epochs"),
        lambda warmup, cooldown, epochs: (warmup or 0) + cooldown < epochs,
        "plus scheduler.cooldown_epochs must be less than train.epochs",
    ),
    Rule(
        ("scheduler.min_lr", "optimizer.base_lr"),
        lambda low, base: low <= base,
        "must be at most optimizer.base_lr",
    ),
    Rule(
        ("scheduler.warmup_lr", "optimizer.base_lr"),
        lambda low, base: low <= base,
        "must be at most optimizer.base_lr",
    ),
    Rule(
        ("optimizer.weight_decay_end", "optimizer.weight_decay"),
        lambda end, start: end is None or start > 0,
        "must be null where optimizer.weight_decay is 0: then no parameter has a weight decay",
    ),
    Rule(
        ("scheduler.milestones", "scheduler.name"),
        lambda milestones, name: (
            milestones == sorted(set(milestones))
            and (len(milestones) > 0 or name != "multistep_lr")
        ),
        "must rise, and hold at least one epoch for scheduler.name=multistep_lr",
    ),
    Rule(
        ("hardware.is_dynamic_loss_scale", "hardware.amp_level"),
        lambda dynamic, level: not (dynamic and level == "O0"),
        "must be false at hardware.amp_level=O0: float32 gradients need no scale",
    ),
    Rule(
        ("hardware.loss_scale", "hardware.amp_level"),
        lambda scale, level: scale == 1 or level != "O0",
        "must be 1 at hardware.amp_level=O0: float32 gradients need no scale",
    ),
    Rule(
        ("hardware.half", "hardware.device_target"),
        lambda half, target: half == "float16" or target == "ascend",
        "must be float16 but for hardware.device_target=ascend: "
        "a CPU's products round to bfloat16 from hardware.amp_level=O1 on",
    ),
    Rule(
        ("hardware.jit_level", "hardware.device_target"),
        lambda level, target: level == "auto" or target == "ascend",
        "must be auto but for hardware.device_target=ascend: MindSpore fuses nothing on a CPU",
    ),
    Rule(
        ("checkpoint", "task"),
        lambda checkpoint, task: (checkpoint is not None) == task_traits(task).needs_checkpoint,
        "must name a run directory or a weights file for task=evaluate, predict, explain, "
        "features, probe or export, a run's or a sweep's directory for task=soup, and be null for "
        "any other (task=finetune starts from model.pretrained)",
    ),
    Rule(
        ("hardware.device_num", "task"),
        lambda devices, task: devices == 1 or task_traits(task).allows_devices,
        "must be 1 but for tasks that train, task=evaluate, task=features, task=probe and "
        "task=benchmark",
    ),
    Rule(
        ("train.recompute", "hardware.device_target"),
        lambda recompute, target: not recompute or target == "ascend",
        "must be false but for hardware.device_target=ascend: "
        "MindSpore recomputes at once on a CPU",
    ),
    Rule(
        ("train.freeze", "task"),
        lambda freeze, task: freeze is None or task_traits(task).uses_labels,
        "must be null for task=pretrain and task=train_tokenizer",
    ),
    *(
        Rule(
            (f"train.{key}", "task"),
            lambda value, task, off=off: value == off or task_traits(task).uses_labels,
            f"must be {text} for task=pretrain and task=train_tokenizer, which know no classes",
        )
        for key, off, text in (
            ("sampling", "uniform", "uniform"),
            ("class_weights", None, "null"),
            ("focal_gamma", 0, "0"),
        )
    ),
    Rule(
        ("train.class_weights", "dataset.num_classes"),
        lambda weights, classes: not isinstance(weights, list) or len(weights) == classes,
        "must be one weight for each of dataset.num_classes classes, in their sorted order",
    ),
    Rule(
        ("train.class_weights", "train.sampling"),
        lambda weights, sampling: weights != "balanced" or sampling == "uniform",
        "must be null or a list where train.sampling is balanced, which evens classes out already",
    ),
    Rule(
        ("train.shuffle", "train.sampling"),
        lambda shuffle, sampling: shuffle or sampling == "uniform",
        "must be true where train.sampling is balanced, which draws at random",
    ),
    Rule(
        ("scheduler.warmup_steps", "scheduler.warmup_length"),
        lambda steps, epochs: steps is None or not epochs,
        "must be null unless scheduler.warmup_length is null or 0: "
        "the warm-up is given in steps or in epochs",
    ),
    Rule(
        ("augment.color_jitter", "augment.auto_augment"),
        lambda jitter, policy: jitter == 0 or policy is None,
        "must be 0 while augment.auto_augment is set, which changes colours itself",
    ),
    *(
        Rule(
            (key, "task"),
            lambda value, task: not value or task_traits(task).uses_labels,
            f"must be {off} for task=pretrain and task=train_tokenizer, "
            "which show the network what the tokenizer sees",
        )
        for key, off in (
            ("augment.auto_augment", "null"),
            ("augment.re_prob", "0"),
            ("augment.mix_up", "0"),
            ("augment.cutmix", "0"),
            ("augment.label_smoothing", "0"),
        )
    ),
    Rule(
        ("objective", "task"),
        lambda objective, task: task not in OBJECTIVES or objective in OBJECTIVES[task],
        f"must be one that the task measures: {OBJECTIVES}",
    ),
    Rule(
        ("model.pretrained", "task"),
        lambda pretrained, task: pretrained is None or task_traits(task).uses_labels,
        "must be null for task=pretrain and task=train_tokenizer, which start from nothing",
    ),
    Rule(
        ("train.checkpoint_url",),
        lambda url: url is None or url.startswith(("s3://", "obs://")),
        "must begin with s3:// or obs://",
    ),
    Rule(
        ("train.patience", "train.epochs", "train.eval_every_epochs"),
        lambda patience, epochs, every: patience is None or patience < math.ceil(epochs / every),
        "must be null or less than the number of evaluations: no training could end by it",
    ),
    Rule(
        ("train.prune_after", "dataset.folds"),
        lambda after, folds: after is None or folds is None,
        "must be null with dataset.folds: folds are measured on other images each",
    ),
    Rule(
        ("images", "task"),
        lambda images, task: images is None or task_traits(task).allows_images,
        "belongs to task=predict, task=explain and task=features",
    ),
)
