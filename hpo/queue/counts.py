"""How many trials a study has, by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hpo.study.limits import UNLIMITED
from hpo.study.states import OptunaState, TrialState


@dataclass(frozen=True)
class Counts:
    """The trials of a study by Optuna's state, and how many it may have.

    Attributes:
        begun: trials that have begun and not ended: running, idle, or paused at a rung.
        failed: without those that were refused.
        refused: trials that one batch showed to violate a constraint; as they were not trained, they spend nothing of
            the number of trials.
        foreign: trials of any state that another program has added; they are counted beside the others, and spend
            nothing of the budget.
    """

    target: int = 0
    waiting: int = 0
    begun: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    refused: int = 0
    foreign: int = 0

    @classmethod
    def of_states(
        cls, numbers: Mapping[str | None, int], *, target: int, foreign: int, refused: int = 0, **more: Any
    ) -> Self:
        """From how many of ours there are in each of Optuna's states."""
        return cls(
            target=target,
            waiting=numbers.get(OptunaState.WAITING, 0),
            begun=numbers.get(OptunaState.RUNNING, 0),
            complete=numbers.get(OptunaState.COMPLETE, 0),
            pruned=numbers.get(OptunaState.PRUNED, 0),
            failed=numbers.get(OptunaState.FAIL, 0) - refused,
            refused=refused,
            foreign=foreign,
            **more,
        )

    @property
    def of_target(self) -> str:
        """` of 40`, to follow a number of trials; empty where there is no limit of them."""
        return "" if self.target in (0, UNLIMITED) else f" of {self.target}"

    @property
    def claimed(self) -> int:
        return self.begun + self.complete + self.pruned + self.failed

    @property
    def ended(self) -> int:
        return self.complete + self.pruned + self.failed

    @property
    def next_number(self) -> int:
        """Of the next trial: they are numbered without gaps."""
        return self.claimed + self.waiting + self.refused + self.foreign

    @property
    def ends_in_words(self) -> str:
        """`12 complete, 3 pruned, 0 failed`, and how many were refused, where there are such."""
        words = f"{self.complete} complete, {self.pruned} pruned, {self.failed} failed"
        return f"{words}; {self.refused} more refused for a constraint" if self.refused else words


@dataclass(frozen=True)
class TrialCounts(Counts):
    """The same, with the begun trials apart by `TrialState`.

    Attributes:
        idle: begun trials that were handed back or lost, and that no worker trains.
        paused: begun trials that are paused at a rung.
        held: those of the idle ones that a person has paused.
    """

    idle: int = 0
    paused: int = 0
    held: int = 0

    @property
    def running(self) -> int:
        """Begun trials that are trained now, by our workers or by another program."""
        return self.begun - self.idle - self.paused

    @property
    def by_state(self) -> dict[str, int]:
        """How many trials there are in each `TrialState`."""
        return {
            TrialState.COMPLETE: self.complete,
            TrialState.PRUNED: self.pruned,
            TrialState.FAILED: self.failed + self.refused,
            TrialState.RUNNING: self.running,
            TrialState.PAUSED: self.paused,
            TrialState.IDLE: self.idle,
            TrialState.WAITING: self.waiting,
        }
