"""Laws over several settings: which values go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A law over several settings; judged only when each of them is valid by itself."""

    keys: tuple[str, ...]
    holds: Callable[..., bool]
    allowed: str


RULES = (
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
        ("dataset.num_classes", "dataset.name"),
        lambda classes, name: name != "digits" or classes == 10,
        "must be 10 for dataset.name=digits",
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
        lambda warmup, cooldown, epochs: warmup + cooldown < epochs,
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
        ("scheduler.milestones", "scheduler.name"),
        lambda milestones, name: (
            milestones == sorted(set(milestones)) and (len(milestones) > 0 or name != "multistep_lr")
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
        ("checkpoint", "task"),
        lambda checkpoint, task: (checkpoint is None) == (task in ("finetune", "check_data", "benchmark")),
        "must name a run directory or a weights file for task=evaluate, predict or export, and be null for "
        "task=finetune (which starts from model.pretrained), check_data and benchmark",
    ),
    Rule(
        ("hardware.node_rank", "hardware.node_num"),
        lambda rank, nodes: rank < nodes,
        "must be less than hardware.node_num",
    ),
    Rule(
        ("hardware.master_port", "hardware.node_num"),
        lambda port, nodes: port is not None or nodes == 1,
        "must be given, the same on every node, where hardware.node_num is above 1",
    ),
    Rule(
        ("hardware.device_num", "task"),
        lambda devices, task: devices == 1 or task in ("finetune", "evaluate", "benchmark"),
        "must be 1 but for task=finetune, evaluate and benchmark",
    ),
    Rule(
        ("train.recompute", "hardware.device_target"),
        lambda recompute, target: not recompute or target == "ascend",
        "must be false but for hardware.device_target=ascend: MindSpore recomputes at once on a CPU",
    ),
    Rule(
        ("train.checkpoint_url",),
        lambda url: url is None or url.startswith(("s3://", "obs://")),
        "must begin with s3:// or obs://",
    ),
    Rule(("images", "task"), lambda images, task: images is None or task == "predict", "belongs to task=predict"),
)
