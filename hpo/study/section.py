"""What all sections of a study file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1, lt=2**31, strict=True)]  # the largest integer of a database column
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A mapping of the study file: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
