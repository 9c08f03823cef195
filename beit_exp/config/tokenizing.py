"""Settings of visual tokenizers, of both kinds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from beit_exp.config.section import (
    BelowOne,
    Interval,
    NonNegativeFloat,
    PositiveInt,
    Section,
    Text,
    Triple,
)

TokenizerKind = Literal["dvae", "vqkd"]
TokenizerFilter = Literal["bilinear", "bicubic", "lanczos"]


class TokenizerConfig(Section):
    kind: TokenizerKind
    weights: Text | None
    training: dict[str, Any]
    vocabulary: Annotated[int, Field(ge=2)]
    interpolation: TokenizerFilter
    hidden: PositiveInt
    blocks_per_group: PositiveInt
    decoder_input: PositiveInt
    straight_through: bool
    temperature: Interval
    kl_weight: NonNegativeFloat
    teacher: Text | None
    teacher_mean: Triple | None
    teacher_std: Triple | None
    embed_dim: PositiveInt
    depth: PositiveInt
    num_heads: PositiveInt
    decoder_depth: PositiveInt
    code_width: PositiveInt
    code_decay: BelowOne
    commitment: NonNegativeFloat
