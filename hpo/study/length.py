"""What the length of a study's trials is counted in, and with it their curves, rungs and limits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Unit(StrEnum):
    """A study has `epochs:` or `steps:`. What is called `epoch` elsewhere is counted in the study's unit."""

    EPOCH = "epoch"
    """A pass over the training data; each is reported at its end."""
    STEP = "step"
    """A training batch; each validation is reported, whichever epoch it falls into."""

    @property
    def plural(self) -> str:
        """As the key of a study file and of a trial's configuration."""
        return f"{self}s"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Unit:
        """The unit of a trial, by its configuration."""
        return cls.STEP if cls.STEP.plural in config else cls.EPOCH

    def counted(self, number: int) -> str:
        """`one epoch`, `2,000 steps`."""
        return f"one {self}" if number == 1 else f"{number:,} {self.plural}"
