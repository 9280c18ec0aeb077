"""Where a search's time went: device-hours by what became of the trials, what pruning has saved, and failures."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hpo.errors import failure_in_words
from hpo.report.reading import Material
from hpo.study.states import AttemptEnd, OptunaState, TrialState

NO_FAILURE = (AttemptEnd.DONE, AttemptEnd.AT_RUNG, AttemptEnd.PAUSED, None)


@dataclass(frozen=True)
class Accounts:
    """Of a search.

    Attributes:
        elapsed: seconds from its first trial's begin to its last one's end; None before one has ended.
        by_state: device-seconds of the attempts of trials by their state in Optuna's tables.
        saved: device-seconds that pruned trials would have taken to their end, at their own pace; about.
    """

    elapsed: float | None
    by_state: dict[str, float]
    saved: float
    pruned: int

    @property
    def spent(self) -> float:
        """Device-seconds."""
        return sum(self.by_state.values())


@dataclass(frozen=True)
class Failure:
    """Trials that have failed alike.

    Attributes:
        example: the failure of the first of them in a line.
    """

    cause: str
    trials: tuple[int, ...]
    example: str


def accounts_of(material: Material) -> Accounts:
    """What the search has spent and saved."""
    by_state: dict[str, float] = defaultdict(float)
    for spending in material.spending:
        by_state[spending.state] += spending.seconds
    begun = [one.started for one in material.records if one.started is not None]
    ended = [one.ended for one in material.records if one.ended is not None]
    elapsed = (max(ended) - min(begun)).total_seconds() if begun and ended else None
    saved, pruned = 0.0, 0
    for one in material.records:
        if one.state != TrialState.PRUNED or one.cause is not None:  # one with a cause was ended by a person or a limit
            continue
        pruned += 1
        if one.max_epochs is not None and one.epochs and one.seconds is not None:
            left = max(0, one.max_epochs - one.epochs)
            saved += left * one.seconds / one.epochs * material.devices_per_trial
    known = {state: seconds for state in OptunaState if (seconds := by_state.get(state, 0.0))}
    return Accounts(elapsed, {str(state): seconds for state, seconds in known.items()}, saved, pruned)


def failures_of(material: Material) -> list[Failure]:
    """The failed trials by cause, the most frequent first."""
    numbers: dict[str, list[int]] = defaultdict(list)
    examples: dict[str, str] = {}
    for one in material.records:
        if one.state == TrialState.FAILED:
            cause = one.cause or "unknown"
            numbers[cause].append(one.number)
            examples.setdefault(cause, failure_in_words(cause, one.error))
    found = [Failure(cause, tuple(its), examples[cause]) for cause, its in numbers.items()]
    return sorted(found, key=lambda failure: (-len(failure.trials), failure.cause))


def interrupted_attempts(material: Material) -> dict[str, int]:
    """How many attempts did not end as they should, by how they ended; retried ones too."""
    found: dict[str, int] = defaultdict(int)
    for spending in material.spending:
        if spending.kind not in NO_FAILURE:
            found[str(spending.kind)] += spending.attempts
    return dict(found)
