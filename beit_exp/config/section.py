"""What settings are made of: groups of them, and types by the range that they allow."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from beit_exp.config.augment_policy import parse_policy


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
SetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Section(BaseModel):
    """One group of settings: no unknown keys, no silent conversions, no changes once built."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
