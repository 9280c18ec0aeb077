"""The states of studies and trials, the requests for trials, and the ends of attempts, as stored.

No other module spells a state. Optuna's tables have five trial states of their own; ours are derived from them, so
that optuna-dashboard and Optuna scripts can read a store unchanged.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


class StudyState(StrEnum):
    """The desired state of a study; all but `DONE` are stored."""

    RUNNING = "running"
    """Workers claim its trials."""
    PAUSED = "paused"
    """No trial is claimed; running trials are saved and idle until the study is resumed."""
    STOPPED = "stopped"
    """It ends: running trials end after their epoch, pruned with their value so far."""
    KILLED = "killed"
    """It ends at once: running trials fail."""
    DONE = "done"
    """Shown for a running study that has all its trials, or has reached a limit."""

    @property
    def is_ending(self) -> bool:
        """Whether all trials of the study must end."""
        return self in (StudyState.STOPPED, StudyState.KILLED)


class OptunaState(StrEnum):
    """A trial's state in Optuna's table `trials`."""

    WAITING = "WAITING"
    """Enqueued and not begun."""
    RUNNING = "RUNNING"
    """Begun and not ended, whether or not a worker trains it now."""
    COMPLETE = "COMPLETE"
    """Ended with a value."""
    PRUNED = "PRUNED"
    """Ended early."""
    FAIL = "FAIL"
    """Ended without a result."""

    @property
    def is_ended(self) -> bool:
        return self in OPTUNA_ENDED


OPTUNA_ENDED = (OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.FAIL)


class TrialState(StrEnum):
    """A trial's state as people see it: in tables, `--json` and Python."""

    WAITING = "waiting"
    """Enqueued and not begun."""
    RUNNING = "running"
    """A worker trains it."""
    PAUSED = "paused"
    """Paused at a rung: it continues when it is among the best that reached the rung."""
    IDLE = "idle"
    """Begun and handed back, or lost by its worker: the next free slot resumes it, unless it was asked to pause."""
    COMPLETE = "complete"
    """Trained to its end; its value is that of its best epoch."""
    PRUNED = "pruned"
    """Ended early, by the pruner, a limit or a request, with its value so far."""
    FAILED = "failed"
    """Ended without a result; its `cause` is stored."""

    @staticmethod
    def of(state: str, *, is_trained: bool, request: str | None) -> TrialState:
        """From Optuna's state.

        Args:
            is_trained: an attempt of the trial has not ended, or another program trains it.
            request: the trial's request.
        """
        if state != OptunaState.RUNNING or is_trained:
            return _OF_OPTUNA[OptunaState(state)]
        return TrialState.PAUSED if request == Request.AWAIT_PROMOTION else TrialState.IDLE


_OF_OPTUNA = {
    OptunaState.WAITING: TrialState.WAITING,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}


class Request(StrEnum):
    """A request for one trial, by a person or by its pruner; without a request it trains."""

    PAUSE = "pause"
    """By a person: hand it back after its epoch, and leave it idle until it is resumed."""
    STOP = "stop"
    """By a person: end it after its epoch, pruned with its value so far."""
    KILL = "kill"
    """By a person: end it at once, as failed."""
    AWAIT_PROMOTION = "await promotion"
    """By its pruner: stay paused at a rung until it is promoted."""


class AttemptEnd(StrEnum):
    """How an attempt to train a trial ended; a study's `retries:` limits how often each is retried."""

    DONE = "done"
    """The trial ended with this attempt: complete or pruned."""
    CRASH = "crash"
    """Its process died, or its worker was lost."""
    OUT_OF_MEMORY = "oom"
    """Its process ran out of memory."""
    PREEMPTED = "preempted"
    """Its worker was asked to end, and handed the trial back."""
    PAUSED = "paused"
    """Handed back at a person's request, or because its files could not be written."""
    AT_RUNG = "at rung"
    """Its pruner paused it at a rung."""
    STALLED = "stalled"
    """It hung: no step for `stall_minutes`."""
    OVERTIME = "overtime"
    """The trial exceeded its `trial_minutes`."""
    ERROR = "error"
    """Its code raised an error."""
    DIVERGED = "diverged"
    """Its objective was not a finite number."""
    KILLED = "killed"
    """A person requested it."""
    REFUSED = "refused"
    """One batch showed that the trial violates a constraint: it was refused before it trained."""


class Direction(StrEnum):
    """Which values of the objective are better; the only place that compares two of them."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @staticmethod
    def of_optuna(word: str) -> Direction:
        """From Optuna's table of directions, or of `optuna.study.StudyDirection`'s name."""
        return Direction(word.lower())

    @property
    def optuna(self) -> str:
        """The name in Optuna's table."""
        return self.upper()

    def better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`; false where they are equal."""
        return value > other if self is Direction.MAXIMIZE else value < other

    def reaches(self, value: float, target: float) -> bool:
        """Whether `value` is as good as `target`, or better."""
        return not self.better(target, value)

    def gain(self, value: float, other: float) -> float:
        """By how much `value` is better than `other`; negative where it is worse."""
        return value - other if self is Direction.MAXIMIZE else other - value

    def cost(self, value: float) -> float:
        """A sort key: lower is better."""
        return -value if self is Direction.MAXIMIZE else value

    def order(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column's order in SQL, the best value first."""
        return column.desc() if self is Direction.MAXIMIZE else column.asc()
