"""Every setting with its type and range. The values live in `conf/*.yaml`; here are no defaults, so each has one home.

`Config` is built once by `from_mapping`, which reports all that is wrong at once, and is never changed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from beit_exp import complaints
from beit_exp.augment_policy import parse_policy
from beit_exp.files import write_atomically


def _checked_policy(text: str) -> str:
    parse_policy(text)
    return text


PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
ShareAboveZero = Annotated[float, Field(gt=0, le=1)]
Triple = Annotated[list[float], Field(min_length=3, max_length=3)]
Interval = Annotated[list[PositiveFloat], Field(min_length=2, max_length=2)]
Text = Annotated[str, Field(min_length=1)]
PolicyText = Annotated[str, AfterValidator(_checked_policy)]


class UserError(Exception):
    """What the user can mend: shown as its message alone, without a traceback."""

    exit_status = 2


class WrongSettingsError(UserError):
    """Every wrong setting of a configuration, a line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = sorted(problems)
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        super().__init__("\n  ".join([f"{count} wrong:", *self.problems]))


class Section(BaseModel):
    """One group of settings: no unknown keys, no silent conversions, no changes after construction."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    arch: Text
    image_size: PositiveInt
    patch_size: PositiveInt
    embed_dim: PositiveInt
    depth: PositiveInt
    num_heads: PositiveInt
    mlp_ratio: PositiveFloat
    rel_pos_bias: bool
    shared_rel_pos_bias: bool
    abs_pos_emb: bool
    layer_scale_init_value: PositiveFloat | None
    drop_path_rate: BelowOne
    head_init_scale: PositiveFloat
    pooling: Literal["mean", "cls"]
    pretrained: Text | None


class DatasetConfig(Section):
    name: Literal["imagenet", "image_folder", "digits"]
    data_url: Text
    num_classes: Annotated[int, Field(ge=2)]
    crop_pct: ShareAboveZero
    interpolation: Literal["bilinear", "bicubic"]
    mean: Triple
    std: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)]
    bad_images: Literal["stop", "replace"]


class AugmentConfig(Section):
    auto_augment: PolicyText | None
    interpolation: Literal["bilinear", "bicubic", "random"]
    crop_scale: Interval | None
    crop_ratio: Interval
    hflip: Probability
    re_prob: Probability
    re_mode: Literal["pixel", "rand", "const"]
    re_count: PositiveInt
    mix_up: NonNegativeFloat
    cutmix: NonNegativeFloat
    cutmix_minmax: Interval | None
    mixup_prob: Probability
    switch_prob: Probability
    mixup_mode: Literal["batch", "pair", "elem"]
    label_smoothing: BelowOne


class OptimizerConfig(Section):
    name: Literal["adamw", "adam_weight_decay", "momentum"]
    base_lr: PositiveFloat
    layer_decay: ShareAboveZero
    weight_decay: NonNegativeFloat
    beta: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=2, max_length=2)]
    eps: PositiveFloat
    momentum: BelowOne
    clip_global_norm_value: PositiveFloat | None


class SchedulerConfig(Section):
    name: Literal["cosine_lr", "constant_lr", "exponential_lr", "multistep_lr"]
    warmup_length: NonNegativeInt
    warmup_lr: NonNegativeFloat
    min_lr: NonNegativeFloat
    cooldown_epochs: NonNegativeInt
    decay_rate: ShareAboveZero
    decay_epochs: PositiveFloat
    milestones: list[PositiveInt]


class HardwareConfig(Section):
    device_target: Literal["auto", "cpu", "ascend"]
    amp_level: Literal["O0", "O1", "O2", "O3"]
    is_dynamic_loss_scale: bool
    loss_scale: Annotated[float, Field(ge=1)]
    loss_scale_window: PositiveInt
    loss_scale_growth: Annotated[float, Field(ge=1)]
    loss_scale_backoff: Annotated[float, Field(gt=0, lt=1)]
    max_skipped_steps: PositiveInt
    num_parallel_workers: PositiveInt
    device_num: PositiveInt
    node_num: PositiveInt
    node_rank: NonNegativeInt
    master_addr: Text
    master_port: Annotated[int, Field(gt=1023, le=65535)] | None


class TrainConfig(Section):
    epochs: PositiveInt
    batch_size: PositiveInt
    accumulate_steps: PositiveInt
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    shuffle: bool
    log_every_steps: PositiveInt
    eval_every_epochs: PositiveInt
    save_every_epochs: PositiveInt
    keep_checkpoints: PositiveInt
    checkpoint_url: Text | None


class TrackingConfig(Section):
    uri: Text | None
    experiment: Text
    run_name: Text | None
    tags: dict[str, str]
    log_checkpoint: bool
    log_model: Text | None
    system_metrics: bool


class Config(Section):
    task: Literal["finetune", "evaluate", "predict", "export", "check_data"]
    seed: NonNegativeInt
    objective: Literal["val/top1", "val/top5", "val/loss", "best/val/top1"]
    checkpoint: Text | None
    images: Text | None
    allow_changes: list[str]
    model: ModelConfig
    dataset: DatasetConfig
    augment: AugmentConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    hardware: HardwareConfig
    train: TrainConfig
    tracking: TrackingConfig


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
        lambda checkpoint, task: (checkpoint is None) == (task in ("finetune", "check_data")),
        "must name a run directory or a weights file for task=evaluate, predict or export, and be null for "
        "task=finetune (which starts from model.pretrained) and check_data",
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
        lambda devices, task: devices == 1 or task in ("finetune", "evaluate"),
        "must be 1 but for task=finetune and task=evaluate",
    ),
    Rule(
        ("train.checkpoint_url",),
        lambda url: url is None or url.startswith(("s3://", "obs://")),
        "must begin with s3:// or obs://",
    ),
    Rule(
        ("allow_changes",),
        lambda allowed: set(allowed) <= set(keys()),
        "must be full names of settings",
    ),
    Rule(("images", "task"), lambda images, task: images is None or task == "predict", "belongs to task=predict"),
)


def from_mapping(raw: dict[str, Any]) -> Config:
    """The checked configuration; `UserError` lists every wrong setting with its value and what is allowed."""
    raw = _without_missing(raw)
    problems: dict[str, str] = {}
    config = None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors():
            key, problem = complaints.describe(detail, Config.model_json_schema(), known_keys())
            problems.setdefault(key, problem)
    for rule in RULES:
        if any(_within(bad, key) for bad in problems for key in rule.keys):
            continue
        values = [_lookup(raw, key) for key in rule.keys]
        if not rule.holds(*values):
            others = ", ".join(f"{key} = {value!r}" for key, value in zip(rule.keys[1:], values[1:], strict=True))
            problems[rule.keys[0]] = f"= {values[0]!r}: {rule.allowed}" + (f" (here {others})" if others else "")
    if problems or config is None:
        raise WrongSettingsError([f"{key} {problem}".replace(" :", ":") for key, problem in problems.items()])
    return config


def save(config: Config, path: Path) -> None:
    """Write every setting, resolved, as YAML."""
    write_atomically(path, yaml.safe_dump(config.model_dump(), sort_keys=False).encode())


def load(path: Path) -> Config:
    """Read what `save` wrote."""
    return from_mapping(read_mapping(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """The YAML mapping in a file."""
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as a configuration: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path} holds no settings")
    return raw


def keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every setting's full key: `seed`, `model.arch`, ..."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def known_keys() -> list[str]:
    """Every group and every setting: what a misspelt key may have meant."""
    return [*Config.model_fields, *keys()]


def flatten(config: Config) -> dict[str, Any]:
    """Full key -> value, for parameters of a tracked run."""
    values = config.model_dump()
    return {key: _lookup(values, key) for key in keys()}


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Full key -> (old value, new value) where the two differ."""
    before, after = flatten(old), flatten(new)
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def _without_missing(raw: dict[str, Any]) -> dict[str, Any]:
    """Drop what is still to be given: OmegaConf marks it by three question marks."""
    return {
        key: _without_missing(value) if isinstance(value, dict) else value
        for key, value in raw.items()
        if value != "???"
    }


def _lookup(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _within(bad: str, key: str) -> bool:
    """Whether a problem at `bad` leaves no valid value at `key`: the same setting, its group, or an item of it."""
    return bad == key or key.startswith(bad + ".") or bad.startswith(key + ".")
