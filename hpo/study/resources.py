"""What a study takes of a machine, as its file gives it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, field_validator

from hpo.study.section import PositiveInt, Section

# Short forms for study files, and Lightning's names for them.
PRECISIONS = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}


class Resources(Section):
    """The resources of one machine for the study, and how a trial uses them.

    Attributes:
        slots: trials at a time.
        devices_per_trial: each in a process of its own.
        trials_per_device: that share a GPU; `auto` finds out how many.
        strategy: of several devices for one trial, by Lightning's name.
        use_distributed_sampler: divide the data among these devices; false for a sampler that does it itself.
    """

    slots: PositiveInt | Literal["auto"] = "auto"
    devices_per_trial: PositiveInt = 1
    trials_per_device: PositiveInt | Literal["auto"] = 1
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto"
    use_distributed_sampler: bool = True
    precision: Annotated[str, BeforeValidator(lambda value: PRECISIONS.get(str(value), str(value)))] = "32-true"

    @field_validator("precision")
    @classmethod
    def _known(cls, value: str) -> str:
        known = [*PRECISIONS.values(), "16-true", "bf16-true"]
        if value not in known:
            raise ValueError(f"should be one of {', '.join(PRECISIONS)}, {', '.join(known)}")
        return value
