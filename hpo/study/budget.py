"""The limits of a study, as its file gives them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hpo.study.limits import DEFAULT_TRIALS, UNLIMITED, trials_in_words
from hpo.study.section import PositiveFloat, PositiveInt, Section


class FrontTarget(Section):
    """A front that is good enough.

    Attributes:
        hypervolume: that its trials dominate, in the product of the objectives' units.
        reference: by metric, the value that is just bad enough to count for nothing.
    """

    hypervolume: PositiveFloat
    reference: dict[str, float]


class WorthGoingOn(Section):
    """
    Attributes:
        price: by how much a further device-hour should improve the objective at least, in its unit.
    """

    price: Annotated[float, Field(ge=0)] = 0.0


class Budget(Section):
    """The study's limits; the first one reached ends it.

    Attributes:
        trials: without it, 20; or no limit of trials where hours, gpu_hours, patience or auto end the study.
        hours: wall-clock time from the first claim on, while the study is not over.
        gpu_hours: of all devices and all attempts together; of cores where there is no GPU.
        trial_minutes: of a trial with all its attempts; then it ends with its best value so far.
        target: a value of the objective that is good enough; of several objectives, a hypervolume of the front.
        patience: consecutive trials without an improvement of the best value, or of the front.
        auto: ends the study when going on is not expected to pay, see `hpo.search.gain`.
        stall_minutes: time without a step after which a trial counts as hung; by default 10 on several devices.
    """

    trials: PositiveInt | None = None
    hours: PositiveFloat | None = None
    gpu_hours: PositiveFloat | None = None
    trial_minutes: PositiveFloat | None = None
    target: float | FrontTarget | None = None
    patience: PositiveInt | None = None
    auto: bool | WorthGoingOn = False
    stall_minutes: PositiveFloat = 60.0

    @property
    def trials_target(self) -> int:
        """The number of trials, given or by default; UNLIMITED where only other limits end the study."""
        if self.trials is not None:
            return self.trials
        return UNLIMITED if self.hours or self.gpu_hours or self.patience or self.auto else DEFAULT_TRIALS

    def __str__(self) -> str:
        """`40 trials, 8 hours`."""
        limits = {"hours": self.hours, "device-hours": self.gpu_hours}
        found = [
            trials_in_words(self.trials_target),
            *(f"{limit:g} {unit}" for unit, limit in limits.items() if limit is not None),
        ]
        if isinstance(self.target, FrontTarget):
            found.append(f"a hypervolume of {self.target.hypervolume:g}")
        elif self.target is not None:
            found.append(f"a value of {self.target:g}")
        if self.patience is not None:
            found.append(f"{self.patience} trials without a better one")
        if self.auto:
            found.append("as long as it is expected to pay")
        return ", ".join(found)

    @property
    def price(self) -> float | None:
        """By how much a further device-hour should improve the objective; None where that does not end the study."""
        return self.auto.price if isinstance(self.auto, WorthGoingOn) else 0.0 if self.auto else None

    @property
    def limits(self) -> dict[str, float | None]:
        """The limits other than the number of trials; the target of a front is its hypervolume."""
        target = self.target.hypervolume if isinstance(self.target, FrontTarget) else self.target
        return {"hours": self.hours, "gpu_hours": self.gpu_hours, "target": target, "patience": self.patience}
