"""Every setting with its type and range. The values live in `conf/*.yaml`; here are no defaults, so each has one home.

`Config` is built once by `from_mapping`, which reports all that is wrong at once, and is never changed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from beit_exp import complaints
from beit_exp.augment_policy import parse_policy
from beit_exp.files import write_atomically
from beit_exp.rules import RULES


def _checked_policy(text: str) -> str:
    parse_policy(text)
    return text


def _checked_keys(allowed: list[str]) -> list[str]:
    if not set(allowed) <= set(keys()):
        raise ValueError("must be full names of settings")
    return allowed


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
SettingNames = Annotated[list[str], AfterValidator(_checked_keys)]


class UserError(Exception):
    """What the user can mend: shown as its message alone, without a traceback."""

    exit_status = 2


class DivergedError(UserError):
    """Training that cannot go on: a result of its settings, told by an exit status of its own."""

    exit_status = 3


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
    val_labels: Text | None
    crop_pct: ShareAboveZero
    interpolation: Literal["bilinear", "bicubic"]
    images_per_class: PositiveInt | None
    mean: Triple
    std: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)]
    bad_images: Literal["stop", "replace"]


class AugmentConfig(Section):
    auto_augment: PolicyText | None
    interpolation: Literal["bilinear", "bicubic", "random"]
    crop_scale: Interval | None
    crop_ratio: Interval
    hflip: Probability
    color_jitter: NonNegativeFloat
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
    warmup_steps: PositiveInt | None
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
    recompute: bool
    freeze: Literal["backbone"] | None
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


class MaskConfig(Section):
    num_mask_patches: PositiveInt
    min_mask_patches_per_block: PositiveInt
    exact: bool


class TokenizerConfig(Section):
    weights: Text | None
    training: dict[str, Any]
    vocabulary: Annotated[int, Field(ge=2)]
    hidden: PositiveInt
    blocks_per_group: PositiveInt
    decoder_input: PositiveInt
    interpolation: Literal["bilinear", "bicubic", "lanczos"]
    straight_through: bool
    temperature: Interval
    kl_weight: NonNegativeFloat


class BenchmarkConfig(Section):
    parts: Annotated[list[Literal["step", "training", "inference", "train_data", "eval_data"]], Field(min_length=1)]
    warm_up: NonNegativeInt
    repeats: PositiveInt
    data_batches: PositiveInt


class EvaluationConfig(Section):
    flip: bool


class ExportConfig(Section):
    formats: Annotated[list[Literal["mindir", "onnx", "safetensors", "huggingface", "air"]], Field(min_length=1)]


class Config(Section):
    task: Literal[
        "finetune", "pretrain", "train_tokenizer", "evaluate", "predict", "explain", "export", "check_data", "benchmark"
    ]
    seed: NonNegativeInt
    objective: Literal["val/top1", "val/top5", "val/loss", "best/val/top1", "val/masked_accuracy"]
    checkpoint: Text | None
    images: Text | None
    allow_changes: SettingNames
    model: ModelConfig
    dataset: DatasetConfig
    augment: AugmentConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    hardware: HardwareConfig
    train: TrainConfig
    tracking: TrackingConfig
    mask: MaskConfig
    tokenizer: TokenizerConfig
    benchmark: BenchmarkConfig
    evaluation: EvaluationConfig
    export: ExportConfig


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
