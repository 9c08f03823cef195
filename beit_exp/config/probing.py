"""Settings of features, and of what is made of them to judge a representation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from beit_exp.config.section import PositiveFloat, PositiveInt, Section

Blocks = Annotated[list[int], Field(min_length=1)]  # counted as Python does: -1 is the last
ProbePart = Literal["knn", "linear", "few_shot"]
FeaturePooling = Literal["cls", "mean", "both", "attention", "tokens"]


class FeaturesConfig(Section):
    blocks: Blocks
    pooling: FeaturePooling
    dtype: Literal["float32", "float16"]


class ProbeConfig(Section):
    every_epochs: PositiveInt | None
    every_neighbours: PositiveInt
    parts: Annotated[list[ProbePart], Field(min_length=1)]
    blocks: Literal["all"] | Blocks
    held_out: Annotated[float, Field(gt=0, lt=1)]
    neighbours: Annotated[list[PositiveInt], Field(min_length=1)]
    temperature: PositiveFloat
    inverse_regularisation: Annotated[list[PositiveFloat], Field(min_length=1)]
    few_shot: Annotated[list[PositiveInt], Field(min_length=1)]
    few_shot_draws: Annotated[int, Field(ge=2)]
    few_shot_inverse_regularisation: PositiveFloat
    max_iterations: PositiveInt
