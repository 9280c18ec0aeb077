"""How a study stands: small questions to the store, answered by a statement or two each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy import Connection, case, func, select

from hpo.errors import StoreError, nearest
from hpo.limits import Spent, settled, spent_of
from hpo.store import Store
from hpo.store.tables import hpo_studies, hpo_trials, studies, study_directions, trial_values, trials

STATES = ("WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL")  # Optuna's


@dataclass(frozen=True)
class Counts:
    """The trials of a study by Optuna's state, and how many it may have."""

    target: int
    waiting: int
    running: int
    complete: int
    pruned: int
    failed: int

    @staticmethod
    def of_states(numbers: Mapping[str | None, int], *, target: int) -> Counts:
        return Counts(target, *(numbers.get(state, 0) for state in STATES))

    @property
    def claimed(self) -> int:
        return self.running + self.complete + self.pruned + self.failed

    @property
    def ended(self) -> int:
        return self.complete + self.pruned + self.failed


def find(store: Store, name: str) -> tuple[int, str]:
    """(number in the store, maximize or minimize) of a study, also of one that another program made.

    Raises:
        StoreError: there is none; names the nearest.
    """
    with store.read() as connection:
        row = connection.execute(
            select(studies.c.study_id, study_directions.c.direction)
            .join(study_directions, study_directions.c.study_id == studies.c.study_id)
            .where(studies.c.study_name == name, study_directions.c.objective == 0)
        ).first()
        if row is None:
            raise no_such_study(connection, name)
    return row.study_id, str(row.direction).lower()


def no_such_study(connection: Connection, name: str) -> StoreError:
    """The error for a name that the store does not have; tells the nearest that it has."""
    known = list(connection.scalars(select(studies.c.study_name).order_by(studies.c.study_id)))
    listed = f" It has {', '.join(known)}." if known else " It has none."
    return StoreError(f"the store has no study '{name}'{nearest(name, known) or '.'}{listed}")


@dataclass(frozen=True)
class Progress:
    """How far a study is, and what is wished of it.

    Attributes:
        state: desired: running, paused, stopped or killed. What another program made is wished to run.
        reason: for the state.
        limits: what it may spend besides trials; None where there is no limit.
        spent: None where there is no limit.
        limit: the one that is reached, in words.
        spec: what it searches and how, as JSON; submitting it again changes what may change.
    """

    state: str
    reason: str | None
    counts: Counts
    priority: float = 1.0
    limits: Mapping[str, float | None] = field(default_factory=dict)
    spent: Spent | None = None
    limit: str | None = None
    spec: str | None = None

    @property
    def is_over(self) -> bool:
        """All that was asked for has ended, a limit is reached and nothing runs, or no more is wished."""
        is_spent = self.limit is not None and self.counts.running == 0
        return self.counts.ended >= self.counts.target or is_spent or self.state in ("stopped", "killed")


def progress(store: Store, study_id: int) -> Progress:
    """How far a study is; one that was deleted is stopped."""
    with store.read() as connection:
        return progress_of(connection, study_id)


def progress_of(connection: Connection, study_id: int, *, hours: float | Literal["measured"] | None = None) -> Progress:
    """How far a study is, within a transaction of the caller.

    Args:
        hours: tell what is spent also without a limit, and take this for its hours, unless they are to be measured.
    """
    by_state = (
        select(trials.c.study_id, trials.c.state.label("of"), func.count().label("number"))
        .where(trials.c.study_id == study_id)
        .group_by(trials.c.study_id, trials.c.state)
        .subquery()
    )
    rows = connection.execute(  # one for each state that its trials are in: every worker asks this every second
        select(
            hpo_studies.c.state,
            hpo_studies.c.state_reason,
            hpo_studies.c.trials_target,
            hpo_studies.c.limits,
            hpo_studies.c.priority,
            hpo_studies.c.spec,
            study_directions.c.direction,
            by_state.c.of,
            by_state.c.number,
        )
        .select_from(studies.outerjoin(hpo_studies).outerjoin(by_state, by_state.c.study_id == studies.c.study_id))
        .join(study_directions, study_directions.c.study_id == studies.c.study_id)
        .where(studies.c.study_id == study_id)
    ).all()
    if not rows:
        return Progress("stopped", "the study was deleted", Counts(0, 0, 0, 0, 0, 0))
    row = rows[0]
    counts = Counts.of_states({one.of: one.number for one in rows}, target=row.trials_target or 0)
    limits = json.loads(row.limits or "{}")
    spent = limit = None
    if hours is not None or any(item is not None for item in limits.values()):
        maximize = str(row.direction) == "MAXIMIZE"
        spent = spent_of(connection, study_id, maximize=maximize)
        if isinstance(hours, float):
            spent = replace(spent, hours=hours, hours_at_end=hours)
        is_complete = counts.ended >= counts.target or row.state in ("stopped", "killed")
        spent, limit = settled(spent, limits, maximize=maximize, is_complete=is_complete, is_running=counts.running > 0)
    priority = 1.0 if row.priority is None else row.priority
    return Progress(row.state or "running", row.state_reason, counts, priority, limits, spent, limit, row.spec)


def counts_of(connection: Connection, study_id: int, *, target: int | None = None) -> Counts:
    """The trials by state, within a transaction of the caller, who may know the target already."""
    rows = connection.execute(
        select(trials.c.state, func.count()).where(trials.c.study_id == study_id).group_by(trials.c.state)
    )
    numbers: dict[str | None, int] = {state: number for state, number in rows}
    if target is None:
        target = connection.scalar(select(hpo_studies.c.trials_target).where(hpo_studies.c.study_id == study_id))
    return Counts.of_states(numbers, target=target or 0)


def lock(connection: Connection, study_id: int) -> None:
    """Keep others from claiming of a study, or changing it, until the transaction ends.

    The rows are Optuna's and ours, always in this order, or two transactions could wait for each other.
    """
    for column in (studies.c.study_id, hpo_studies.c.study_id):
        connection.execute(select(column).where(column == study_id).with_for_update())


def best_of(connection: Connection, study_id: int, *, maximize: bool) -> tuple[int, float] | None:
    """(number, value) of the best completed trial, within a transaction of the caller."""
    order = trial_values.c.value.desc() if maximize else trial_values.c.value.asc()
    row = connection.execute(
        select(trials.c.number, trial_values.c.value)
        .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == "COMPLETE")
        .where(trial_values.c.value_type == "FINITE")
        .order_by(order, trials.c.number)
        .limit(1)
    ).first()
    return None if row is None else (row[0], row[1])


def best_with_checkpoints(store: Store, study_id: int, *, maximize: bool) -> list[tuple[int, int, str]]:
    """(trial_id, number, checkpoint) of the completed trials that have one, the best first."""
    order = trial_values.c.value.desc() if maximize else trial_values.c.value.asc()
    with store.read() as connection:
        rows = connection.execute(
            select(trials.c.trial_id, trials.c.number, hpo_trials.c.checkpoint)
            .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
            .join(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
            .where(
                trials.c.study_id == study_id,
                trials.c.state == "COMPLETE",
                hpo_trials.c.checkpoint.is_not(None),
            )
            .order_by(order, trials.c.number)
        )
        return [(row[0], row[1], row[2]) for row in rows]


def wishes(connection: Connection, trial_ids: Sequence[int]) -> dict[int, str]:
    """By trial_id, what is wished of single trials: pause, stop or kill."""
    if not trial_ids:
        return {}
    rows = connection.execute(
        select(hpo_trials.c.trial_id, hpo_trials.c.wish).where(
            hpo_trials.c.trial_id.in_(trial_ids), hpo_trials.c.wish.is_not(None)
        )
    )
    return {row.trial_id: row.wish for row in rows}


def recent_causes(store: Store, study_id: int, number: int) -> list[tuple[str | None, str | None]]:
    """(cause, error) of the trials that ended last, the latest first; (None, None) for one that did not fail."""
    with store.read() as connection:
        rows = connection.execute(
            select(
                case((trials.c.state == "FAIL", hpo_trials.c.cause)),
                case((trials.c.state == "FAIL", hpo_trials.c.error)),
            )
            .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == study_id, trials.c.datetime_complete.is_not(None))
            .order_by(trials.c.datetime_complete.desc(), trials.c.number.desc())
            .limit(number)
        )
        return [(cause, error) for cause, error in rows]
