"""Studies that train the best trials of a search again: their trials are entered, and ended when they cannot win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from hpo.queue.enqueue import insert_waiting
from hpo.queue.idle import end_trial
from hpo.queue.progress import counts_of, lock_study
from hpo.space import SearchSpace
from hpo.store import Store
from hpo.store.tables import hpo_studies, studies, trial_values, trials
from hpo.study.plan import Plan
from hpo.study.race import Standing, race
from hpo.study.states import OPTUNA_ENDED, Direction, OptunaState

OUT_OF_THE_RACE = "out of the race"  # begins the cause of a trial that was not begun


def enter_plan(connection: Connection, study_id: int, plan: Plan, space: SearchSpace, *, parent_id: int | None) -> None:
    """Enter the trials of a plan that the study does not have yet, in the transaction that has locked the study."""
    for number in range(counts_of(connection, study_id).next_number, plan.trials):
        insert_waiting(connection, study_id, number, space.stored(plan.candidate(number).params))
    mine = hpo_studies.c.study_id == study_id
    connection.execute(update(hpo_studies).where(mine).values(plan=plan.to_json(), parent_id=parent_id))


def standings(connection: Connection, study_id: int, plan: Plan, direction: Direction) -> list[Standing]:
    """How the candidates of a plan stand."""
    return race(plan.by_candidate(_values(connection, study_id)), direction)


def end_beaten(store: Store, study_id: int, plan: Plan, direction: Direction) -> list[int]:
    """End the waiting trials of candidates that are out of the race; their numbers."""
    with store.read() as connection:
        if not _beaten(connection, study_id, plan, direction):
            return []
    with store.write() as connection:
        lock_study(connection, study_id)  # no worker claims one meanwhile
        beaten = _beaten(connection, study_id, plan, direction)
        for number, trial_id in beaten.items():
            first = plan.candidate(number).trial
            cause = f"{OUT_OF_THE_RACE}: with its seeds so far, trial {first} of the search cannot win any more"
            end_trial(connection, trial_id, OptunaState.PRUNED, cause=cause)
    return list(beaten)


def plans_of(connection: Connection, parent_id: int) -> Sequence[tuple[int, str, Plan]]:
    """(study_id, name, plan) of the studies that train this one's trials again, the oldest first."""
    rows = connection.execute(
        select(studies.c.study_id, studies.c.study_name, hpo_studies.c.plan)
        .join(hpo_studies, hpo_studies.c.study_id == studies.c.study_id)
        .where(hpo_studies.c.parent_id == parent_id, hpo_studies.c.plan.is_not(None))
        .order_by(studies.c.study_id)
    )
    return [(row.study_id, row.study_name, Plan.from_json(row.plan)) for row in rows]


def _values(connection: Connection, study_id: int) -> Mapping[int, float | None]:
    """The objective of each trial that has ended, by number; None for one without a value."""
    rows: Any = connection.execute(
        select(trials.c.number, trials.c.state, trial_values.c.value)
        .outerjoin(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state.in_(OPTUNA_ENDED))
    )
    return {row.number: row.value if row.state == OptunaState.COMPLETE else None for row in rows}


def _beaten(connection: Connection, study_id: int, plan: Plan, direction: Direction) -> dict[int, int]:
    """By number, the trial_id of each waiting trial whose candidate is out of the race."""
    is_out = [standing.is_out for standing in standings(connection, study_id, plan, direction)]
    if not any(is_out):
        return {}
    rows = connection.execute(
        select(trials.c.number, trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == OptunaState.WAITING)
        .order_by(trials.c.number)
    )
    return {row.number: row.trial_id for row in rows if is_out[row.number % len(is_out)]}
