"""Settings of features, and of what is made of them to judge a representation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from beit_exp.config.section import Section

Blocks = Annotated[list[int], Field(min_length=1)]  # counted as Python does: -1 is the last
FeaturePooling = Literal["cls", "mean", "both", "attention", "tokens"]


class FeaturesConfig(Section):
    blocks: Blocks
    pooling: FeaturePooling
    dtype: Literal["float32", "float16"]
