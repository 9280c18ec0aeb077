"""The best trials of a study: the queries that rank them, and the checkpoints that are kept for them.

While no trial is complete, those that were begun and have not failed are ranked, by the best value that each has
reached: a study always has a best trial as soon as an epoch has ended. Trials from before a change of data or code that
was accepted, and those that violate a constraint, are not ranked. With several objectives, the best ones are those of
the front (`hpo.queue.front`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from hpo.queue.conditions import is_before_change, is_infeasible
from hpo.queue.front import (
    RankedTrial,
    complete_points,
    front_points,
    leading_points,
    ranked_points,
)
from hpo.store import Store
from hpo.store.json_number import json_number
from hpo.store.tables import hpo_epochs, hpo_trials, trial_intermediate_values, trial_values, trials
from hpo.study.object_store import local_path
from hpo.study.objectives import Objectives
from hpo.study.states import OPTUNA_ENDED, Direction, OptunaState

LOSS = "val_loss"  # by which trials are ranked whose objectives are equal
INFINITE = 1e308
STUDIES_A_STATEMENT = 10_000  # of as many parameters: SQLite takes 32,766, PostgreSQL 65,535


def best_trials(
    connection: Connection, study_id: int, objectives: Objectives, *, limit: int | None = None
) -> Sequence[Row[Any] | RankedTrial]:
    """Rows of (trial_id, number, value, datetime_complete), the best first, within a transaction of the caller.

    Of several objectives, by non-domination rank: first the front, by its leading objective.
    """
    if objectives.are_several:
        found = complete_points(connection, study_id, objectives) or leading_points(connection, study_id, objectives)
        return ranked_points(found, objectives)[:limit]
    direction = objectives.first
    complete = connection.execute(ranked_trials(study_id, direction, limit=limit)).all()
    return complete or connection.execute(leading_trials(study_id, direction).limit(limit)).all()


def best_of_each(
    connection: Connection, studies: Mapping[int, Direction], *, is_complete: bool = False
) -> dict[int, int]:
    """The trial_id of the best trial of each of these studies that has one, as `best_trials` ranks them.

    Args:
        is_complete: of those that have a complete trial.
    """
    found: dict[int, int] = {}
    rankings = (_ranking_of_complete,) if is_complete else (_ranking_of_complete, _ranking_of_leading)
    for direction in set(studies.values()):
        for ranking in rankings:
            wanted = [study for study, its in studies.items() if its == direction and study not in found]
            for start in range(0, len(wanted), STUDIES_A_STATEMENT):
                ranked = ranking(
                    trials.c.study_id.in_(wanted[start : start + STUDIES_A_STATEMENT]), direction
                ).subquery()
                first = select(ranked.c.study_id, ranked.c.trial_id).where(ranked.c.place == 1)
                ties = first.order_by(_loss(ranked.c.trial_id).desc(), ranked.c.number.desc())  # the last one stays
                found |= {study_id: trial_id for study_id, trial_id in connection.execute(ties)}
    return found


def values_of(connection: Connection, trial_ids: Sequence[int]) -> dict[int, float]:
    """The stored values of these trials, of the first objective."""
    found: dict[int, float] = {}
    for start in range(0, len(trial_ids), STUDIES_A_STATEMENT):
        some = trial_values.c.trial_id.in_(trial_ids[start : start + STUDIES_A_STATEMENT])
        wanted = select(trial_values.c.trial_id, trial_values.c.value).where(some, trial_values.c.objective == 0)
        found |= {trial_id: value for trial_id, value in connection.execute(wanted)}
    return found


def ranked_trials(study_id: int, direction: Direction, *, limit: int | None = None) -> Select[Any]:
    """The study's complete trials, the best first; of equal ones that with the smaller loss, or else the earlier.

    Rows of (trial_id, number, value, datetime_complete). Infinite values, which other programs may store, are left out.

    Args:
        limit: the number of rows, for which the losses of a few trials only are read.
    """
    value = trial_values.c.value
    complete = (
        select(trials.c.trial_id, trials.c.number, value, trials.c.datetime_complete)
        .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == OptunaState.COMPLETE,
            ~is_before_change(),
            ~is_infeasible(),
            trial_values.c.objective == 0,
            trial_values.c.value_type == "FINITE",
        )
    )
    ranked = complete.order_by(direction.order(value), _loss(trials.c.trial_id), trials.c.number)
    if limit is None:
        return ranked
    by_value = complete.with_only_columns(value).order_by(direction.order(value))
    last = by_value.offset(max(0, limit - 1)).limit(1).correlate(None).scalar_subquery()
    is_as_good = value >= last if direction == Direction.MAXIMIZE else value <= last
    return ranked.where(or_(last.is_(None), is_as_good)).limit(limit)


def leading_trials(study_id: int, direction: Direction) -> Select[Any]:
    """The study's running, paused, idle and pruned trials by the best value of their curves."""
    curve = trial_intermediate_values.c
    best = (func.max if direction == Direction.MAXIMIZE else func.min)(curve.intermediate_value)
    return (
        select(trials.c.trial_id, trials.c.number, best.label("value"), trials.c.datetime_complete)
        .join(trial_intermediate_values, curve.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state.in_((OptunaState.RUNNING, OptunaState.PRUNED)),
            ~is_before_change(),
            ~is_infeasible(),
            curve.intermediate_value_type == "FINITE",
        )
        .group_by(trials.c.trial_id, trials.c.number, trials.c.datetime_complete)
        .order_by(direction.order(best), trials.c.number)
    )


def unneeded_checkpoints(store: Store, study_id: int, objectives: Objectives, *, keep: int) -> list[tuple[int, Path]]:
    """(trial_id, file) of the ended trials' checkpoints, without those that are kept.

    What was kept before a change of data or code stays: no later trial takes its place.
    """
    with store.read() as connection:
        needed = needed_checkpoints(connection, study_id, objectives, keep=keep)
        rows = connection.execute(
            _ended_with_checkpoint(study_id).with_only_columns(trials.c.trial_id, hpo_trials.c.checkpoint)
        )
        return [(row.trial_id, local_path(row.checkpoint)) for row in rows if row.trial_id not in needed]


def needed_checkpoints(connection: Connection, study_id: int, objectives: Objectives, *, keep: int) -> set[int]:
    """Of the ended trials that have a checkpoint, the ids of the `keep` best ones, pruned ones too.

    They are ranked by the best value that each has reached, those that violate a constraint behind the others. The best
    trial of the study is always among them; of several objectives, all trials of the front.
    """
    if objectives.are_several:
        return _needed_of_several(connection, study_id, objectives, keep=keep)
    direction = objectives.first
    curve = trial_intermediate_values.c
    of_curve = (func.max if direction == Direction.MAXIMIZE else func.min)(curve.intermediate_value)
    kept = _ended_with_checkpoint(study_id)
    complete = kept.with_only_columns(trials.c.trial_id, trials.c.number, trial_values.c.value).join(
        trial_values, trial_values.c.trial_id == trials.c.trial_id
    ).where(trials.c.state == OptunaState.COMPLETE, trial_values.c.objective == 0)  # fmt: skip
    pruned = kept.with_only_columns(trials.c.trial_id, trials.c.number, of_curve.label("value")).join(
        trial_intermediate_values, curve.trial_id == trials.c.trial_id
    ).where(trials.c.state == OptunaState.PRUNED, curve.intermediate_value_type == "FINITE").group_by(
        trials.c.trial_id, trials.c.number
    )  # fmt: skip
    found = [*connection.execute(complete), *connection.execute(pruned)]
    infeasible = set(connection.scalars(_ended_with_checkpoint(study_id).where(is_infeasible())))
    found.sort(key=lambda row: (row.trial_id in infeasible, direction.cost(row.value), row.number))
    ids = [row.trial_id for row in found]
    first = best_trials(connection, study_id, objectives, limit=1)
    if first and first[0].trial_id in ids:
        ids.remove(first[0].trial_id)
        ids.insert(0, first[0].trial_id)
    return set(ids[:keep])


def _needed_of_several(connection: Connection, study_id: int, objectives: Objectives, *, keep: int) -> set[int]:
    if not keep:
        return set()
    kept = set(connection.scalars(_ended_with_checkpoint(study_id)))
    complete = complete_points(connection, study_id, objectives)
    found = ranked_points([*complete, *leading_points(connection, study_id, objectives)], objectives)
    best = [trial.trial_id for trial in found if trial.trial_id in kept][:keep]
    return {*best, *(trial.trial_id for trial in front_points(complete, objectives))} & kept


def _ended_with_checkpoint(study_id: int) -> Select[Any]:
    return (
        select(trials.c.trial_id)
        .join(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state.in_(OPTUNA_ENDED),
            hpo_trials.c.checkpoint.is_not(None),
            hpo_trials.c.before_change.is_(None),
        )
    )


def _ranking_of_complete(wanted: ColumnElement[bool], direction: Direction) -> Select[Any]:
    """Rows of (study_id, trial_id, number, place): `ranked_trials` of several studies; equal values share a place."""
    order = direction.order(trial_values.c.value)
    place = func.rank().over(partition_by=trials.c.study_id, order_by=order).label("place")
    return (
        select(trials.c.study_id, trials.c.trial_id, trials.c.number, place)
        .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(
            wanted,
            trials.c.state == OptunaState.COMPLETE,
            ~is_before_change(),
            ~is_infeasible(),
            trial_values.c.objective == 0,
            trial_values.c.value_type == "FINITE",
        )
    )


def _ranking_of_leading(wanted: ColumnElement[bool], direction: Direction) -> Select[Any]:
    """Rows of (study_id, trial_id, number, place): `leading_trials` of several studies."""
    curve = trial_intermediate_values.c
    best = (func.max if direction == Direction.MAXIMIZE else func.min)(curve.intermediate_value)
    order = (direction.order(best), trials.c.number)
    return (
        select(
            trials.c.study_id,
            trials.c.trial_id,
            trials.c.number,
            func.row_number().over(partition_by=trials.c.study_id, order_by=order).label("place"),
        )
        .join(trial_intermediate_values, curve.trial_id == trials.c.trial_id)
        .where(
            wanted,
            trials.c.state.in_((OptunaState.RUNNING, OptunaState.PRUNED)),
            ~is_before_change(),
            ~is_infeasible(),
            curve.intermediate_value_type == "FINITE",
        )
        .group_by(trials.c.study_id, trials.c.trial_id, trials.c.number)
    )


def _loss(trial_id: ColumnElement[int]) -> ColumnElement[float]:
    """The validation loss at a trial's best epoch; infinite where none was logged."""
    logged = (
        select(json_number(hpo_epochs.c.metrics, LOSS))
        .join(hpo_trials, (hpo_trials.c.trial_id == hpo_epochs.c.trial_id))
        .where(hpo_epochs.c.trial_id == trial_id, hpo_epochs.c.epoch == hpo_trials.c.best_epoch)
        .correlate_except(hpo_epochs, hpo_trials)
        .scalar_subquery()
    )
    return func.coalesce(logged, INFINITE)
