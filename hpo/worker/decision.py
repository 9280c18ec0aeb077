"""The decision about a trial after an epoch or validation: a function of values, without store, process or clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hpo.search.rungs import Verdict
from hpo.study.length import Unit
from hpo.study.spec import EarlyStopping
from hpo.study.states import AttemptEnd, Direction, Request
from hpo.worker.early_stopping import waited_in_vain


class Action(StrEnum):
    """What to do with the trial."""

    CONTINUE = "continue"
    """Train the next epoch."""
    SAVE = "save"
    """Train the next epoch, and keep the weights of this one as the best so far."""
    PAUSE = "pause"
    """Write a checkpoint and hand the trial back: another attempt resumes from it."""
    PRUNE = "prune"
    """End it early, with its last value."""
    STOP = "stop"
    """End it as complete, with the value of its best epoch."""
    DROP = "drop"
    """End it as failed: its objective is not a finite number."""


@dataclass(frozen=True)
class Requested:
    """The request to pause or stop a running trial after its epoch, independent of its pruner."""

    request: Request  # pause or stop
    end: AttemptEnd  # how the attempt then ends
    reason: str  # in words; the cause of a trial that ends by it
    is_complete: bool = False  # a trial that is stopped is complete then, not pruned


@dataclass(frozen=True)
class Decision:
    """What to do with a trial after an epoch."""

    action: Action
    end: AttemptEnd = AttemptEnd.DONE  # of the attempt, when it ends by this
    reason: str | None = None  # in words, where it is not obvious
    is_best: bool = False  # the epoch is the trial's best so far

    @property
    def ends_attempt(self) -> bool:
        return self.action not in (Action.CONTINUE, Action.SAVE)


def decide(
    curve: Sequence[float],
    value: float | None,
    *,
    is_judged: bool = True,
    wins_tie: bool = False,
    epoch: int,
    epochs: int,
    direction: Direction,
    verdict: Verdict = Verdict.CONTINUE,
    granted: int = 0,
    requested: Requested | None = None,
    target: float | None = None,
    early_stopping: EarlyStopping | None = None,
    is_planned: bool = False,
    unit: Unit = Unit.EPOCH,
    keeps_diverged: bool = True,
    keeps_last: bool = False,
) -> Decision:
    """Decide whether and how a trial continues.

    Args:
        curve: the objective after each epoch before this one.
        value: the objective after this one; None when it was not finite, or not logged.
        is_judged: the objective was logged; without it, only requests and the number of epochs count.
        wins_tie: its value is as good as the best one, and its loss is smaller.
        epoch: this one; 1 for the first.
        epochs: the number that it is to be trained for.
        verdict: its pruner's.
        granted: epochs that it may train regardless of its rungs, because it was promoted from the rung at this epoch.
        target: a value of the objective that is good enough for the study.
        is_planned: its learning rate follows a plan up to its last epoch.
        unit: of `epoch` and `epochs`.
        keeps_diverged: a trial that diverges after finite epochs ends with the best of them, and does not fail.
        keeps_last: its weights are those of the last of its epochs, since it was trained on what they are judged by.
    """
    if value is None and is_judged and curve and keeps_diverged:
        return Decision(Action.STOP, AttemptEnd.DIVERGED, AttemptEnd.DIVERGED)
    if value is None and is_judged:
        return Decision(Action.DROP, AttemptEnd.DIVERGED, AttemptEnd.DIVERGED)
    is_best = value is not None and (wins_tie or all(direction.better(value, before) for before in curve))
    if keeps_last:
        is_best = value is not None and epoch >= epochs
    if epoch >= epochs:
        return Decision(Action.STOP, is_best=is_best)
    if value is not None and target is not None and direction.reaches(value, target):
        return Decision(Action.STOP, reason=f"the target {target:g} is reached", is_best=is_best)
    if value is not None and early_stopping is not None and not (early_stopping.is_auto and is_planned):
        waited = waited_in_vain([*curve, value], early_stopping, direction)
        if waited is not None:
            what = "epochs" if unit == Unit.EPOCH else "validations"
            return Decision(Action.STOP, reason=f"no improvement for {waited} {what}", is_best=is_best)
    if epoch <= granted:
        verdict = Verdict.CONTINUE
    if verdict == Verdict.PRUNE:
        return Decision(Action.PRUNE, is_best=is_best)
    if requested is not None and requested.request == Request.STOP:
        action = Action.STOP if requested.is_complete else Action.PRUNE
        return Decision(action, requested.end, requested.reason, is_best=is_best)
    if verdict == Verdict.PAUSE:
        return Decision(Action.PAUSE, AttemptEnd.AT_RUNG, "paused at a rung", is_best=is_best)
    if requested is not None and requested.request == Request.PAUSE:
        return Decision(Action.PAUSE, requested.end, requested.reason, is_best=is_best)
    return Decision(Action.SAVE if is_best else Action.CONTINUE, is_best=is_best)


def is_less(loss: float | None, other: float | None) -> bool:
    """Whether both are known, and the first one is smaller."""
    return loss is not None and other is not None and loss < other
