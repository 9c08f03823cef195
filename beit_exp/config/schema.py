"""Every setting with its type and range.

The values live in `conf/*.yaml`; here are no defaults, so each has one home. `Config` is built once
by `mapping.build_config`, which reports all that is wrong at once, and is never changed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from beit_exp.config.probing import FeaturesConfig, ProbeConfig
from beit_exp.config.section import (
    BelowOne,
    Interval,
    NonNegativeFloat,
    NonNegativeInt,
    PolicyText,
    PositiveFloat,
    PositiveInt,
    Probability,
    Section,
    SetName,
    ShareAboveZero,
    Text,
    Triple,
)
from beit_exp.config.task_name import TaskName
from beit_exp.config.tokenizing import TokenizerConfig


def _checked_keys(allowed: list[str]) -> list[str]:
    if not set(allowed) <= set(setting_names()):
        raise ValueError("must be full names of settings")
    return allowed


DatasetName = Literal["imagenet", "image_folder", "digits"]
Filter = Literal["bilinear", "bicubic"]
DrawnFilter = Literal["bilinear", "bicubic", "random"]
DeviceTarget = Literal["auto", "cpu", "ascend"]
ErasingMode = Literal["pixel", "rand", "const"]
MixupMode = Literal["batch", "pair", "elem"]
BadImages = Literal["stop", "replace"]
CheckpointKind = Literal["best", "last", "ema"]
SoupKind = Literal["greedy", "uniform"]
Objective = Literal[
    "val/top1",
    "val/top5",
    "val/loss",
    "val/balanced_accuracy",
    "val/macro_f1",
    "val/micro_f1",
    "val/map",
    "best/val/top1",
    "val/masked_accuracy",
    "val/knn_top1",
]
BenchmarkPart = Literal["step", "update", "training", "inference", "train_data", "eval_data"]
SettingNames = Annotated[list[str], AfterValidator(_checked_keys)]


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
    name: DatasetName
    data_url: Text
    num_classes: PositiveInt
    val_labels: Text | None
    labels: Text | None
    multi_label: bool
    val_fraction: BelowOne
    test_fraction: BelowOne
    folds: Annotated[int, Field(ge=2)] | None
    fold: NonNegativeInt
    groups: Literal["folder", "table"] | None
    crop_pct: ShareAboveZero
    interpolation: Filter
    images_per_class: PositiveInt | None
    mean: Triple
    std: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)]
    bad_images: BadImages
    shuffle_window: PositiveInt | None


class AugmentConfig(Section):
    auto_augment: PolicyText | None
    interpolation: DrawnFilter
    crop_scale: Interval | None
    crop_ratio: Interval
    hflip: Probability
    color_jitter: NonNegativeFloat
    re_prob: Probability
    re_mode: ErasingMode
    re_count: PositiveInt
    mix_up: NonNegativeFloat
    cutmix: NonNegativeFloat
    cutmix_minmax: Interval | None
    mixup_prob: Probability
    switch_prob: Probability
    mixup_mode: MixupMode
    label_smoothing: BelowOne


class OptimizerConfig(Section):
    name: Literal["adamw", "adam_weight_decay", "momentum"]
    base_lr: PositiveFloat
    lr_base_size: PositiveInt | None
    layer_decay: ShareAboveZero
    weight_decay: NonNegativeFloat
    weight_decay_end: NonNegativeFloat | None
    decay_rel_pos_bias: bool
    beta: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=2, max_length=2)]
    eps: PositiveFloat
    momentum: BelowOne
    clip_global_norm_value: PositiveFloat | None


class SchedulerConfig(Section):
    name: Literal["cosine_lr", "constant_lr", "exponential_lr", "multistep_lr"]
    warmup_length: NonNegativeInt | None
    warmup_steps: PositiveInt | None
    warmup_share: BelowOne
    warmup_lr: NonNegativeFloat
    min_lr: NonNegativeFloat
    cooldown_epochs: NonNegativeInt
    decay_rate: ShareAboveZero
    decay_epochs: PositiveFloat
    milestones: list[PositiveInt]


class HardwareConfig(Section):
    device_target: DeviceTarget
    amp_level: Literal["O0", "O1", "O2", "O3"]
    half: Literal["auto", "float16", "bfloat16"]
    jit_level: Literal["auto", "O0", "O1"]
    is_deterministic: bool
    is_dynamic_loss_scale: bool
    loss_scale: Annotated[float, Field(ge=1)]
    loss_scale_window: PositiveInt
    loss_scale_growth: Annotated[float, Field(ge=1)]
    loss_scale_backoff: Annotated[float, Field(gt=0, lt=1)]
    max_skipped_steps: PositiveInt
    num_parallel_workers: PositiveInt
    device_num: PositiveInt
    node_num: PositiveInt | None
    cluster_timeout_s: PositiveFloat


class TrainConfig(Section):
    epochs: PositiveInt
    batch_size: PositiveInt
    accumulate_steps: PositiveInt
    recompute: bool
    freeze: Literal["backbone"] | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    shuffle: bool
    sampling: Literal["uniform", "balanced"]
    class_weights: Literal["balanced"] | list[PositiveFloat] | None
    focal_gamma: NonNegativeFloat
    log_every_steps: PositiveInt
    eval_every_epochs: PositiveInt
    patience: PositiveInt | None
    prune_after: PositiveInt | None
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
    early_block: PositiveInt | None
    head_blocks: PositiveInt | None
    shared_lm_head: bool


class BenchmarkConfig(Section):
    parts: Annotated[list[BenchmarkPart], Field(min_length=1)]
    warm_up: NonNegativeInt
    repeats: PositiveInt
    data_batches: PositiveInt
    against: Text | None
    rounds: PositiveInt


class EvaluationConfig(Section):
    split: Literal["val", "test"]
    sets: dict[SetName, Text]
    real_labels: Text | None
    flip: bool


class ExportConfig(Section):
    formats: Annotated[
        list[Literal["mindir", "onnx", "safetensors", "huggingface", "air"]], Field(min_length=1)
    ]


class SoupConfig(Section):
    kind: SoupKind


class Config(Section):
    task: TaskName
    seed: NonNegativeInt
    objective: Objective
    checkpoint: Text | None
    checkpoint_kind: CheckpointKind
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
    features: FeaturesConfig
    probe: ProbeConfig
    export: ExportConfig
    soup: SoupConfig


def setting_names(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every setting's full key: `seed`, `model.arch`, ..."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from setting_names(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def known_names() -> list[str]:
    """Every group and every setting: what a misspelt key may have meant."""
    return [*Config.model_fields, *setting_names()]
