"""A study's limits: its budget, the part of it that is spent, and the limit that is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from hpo.printable import counted
from hpo.queue.best import STUDIES_A_STATEMENT, best_of_each, ranked_trials, values_of
from hpo.queue.conditions import was_refused
from hpo.queue.front import complete_points, last_improvement
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_studies, trials
from hpo.study.objectives import Objectives
from hpo.study.states import OPTUNA_ENDED

SECONDS_OF_HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """What a study has spent.

    Attributes:
        hours: since its first claim; for a study that is over, until its end.
        hours_at_end: from its first claim until the last attempt ended; below 0 when it was extended since, and has
            not trained yet.
        gpu_hours: of all devices in all attempts, running ones included.
        best: value of the best complete trial; of several objectives the hypervolume of the front, None without a
            reference.
        since_best: trials that have ended since the best one did, or since the last one that has enlarged the front,
            without those that were refused.
    """

    hours: float
    hours_at_end: float
    gpu_hours: float
    best: float | None
    since_best: int


def spent_of(connection: Connection, study_id: int, objectives: Objectives) -> Spent:
    """What the study has spent, within a transaction of the caller."""
    wall = connection.execute(
        select(hpo_studies.c.started, db_now().label("now")).where(hpo_studies.c.study_id == study_id)
    ).first()
    attempted = connection.execute(
        select(
            func.max(hpo_attempts.c.ended).label("ended"),
            func.sum(device_seconds()).label("seconds"),
        )
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .where(trials.c.study_id == study_id)
    ).one()
    best: Any
    if objectives.are_several:
        points = complete_points(connection, study_id, objectives)
        best, value = last_improvement(points, objectives), objectives.hypervolume([point.values for point in points])
    else:
        best = connection.execute(ranked_trials(study_id, objectives.first, limit=1)).first()
        value = None if best is None else best.value
    since = 0
    if best is not None:
        is_later = or_(
            trials.c.datetime_complete > best.datetime_complete,
            and_(trials.c.datetime_complete == best.datetime_complete, trials.c.number > best.number),
        )
        has_ended = trials.c.state.in_(OPTUNA_ENDED) & ~was_refused()
        counted = select(func.count()).where(trials.c.study_id == study_id, has_ended, is_later)
        since = connection.scalar(counted) or 0
    if wall is None or wall.started is None:
        since_start = until_end = 0.0
    else:
        since_start, until_end = wall.now - wall.started, (attempted.ended or wall.started) - wall.started
    return Spent(
        since_start / SECONDS_OF_HOUR,
        until_end / SECONDS_OF_HOUR,
        (attempted.seconds or 0.0) / SECONDS_OF_HOUR,
        value,
        since,
    )


def spent_of_each(connection: Connection, studies: Mapping[int, Objectives]) -> dict[int, Spent]:
    """`spent_of` for several studies; for all those of one objective together by a fixed number of statements."""
    several = {key: its for key, its in studies.items() if its.are_several}
    found = {key: spent_of(connection, key, its) for key, its in several.items()}
    rest = [key for key in studies if key not in several]
    for start in range(0, len(rest), STUDIES_A_STATEMENT):
        some = rest[start : start + STUDIES_A_STATEMENT]
        found |= _of_one_objective(connection, {key: studies[key] for key in some})
    return found


def _of_one_objective(connection: Connection, studies: Mapping[int, Objectives]) -> dict[int, Spent]:
    walls = connection.execute(
        select(hpo_studies.c.study_id, hpo_studies.c.started, db_now().label("now")).where(
            hpo_studies.c.study_id.in_(studies)
        )
    ).all()
    attempted = {
        row.study_id: row
        for row in connection.execute(
            select(
                trials.c.study_id,
                func.max(hpo_attempts.c.ended).label("ended"),
                func.sum(device_seconds()).label("seconds"),
            )
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .where(trials.c.study_id.in_(studies))
            .group_by(trials.c.study_id)
        )
    }
    best = best_of_each(connection, {key: its.first for key, its in studies.items()}, is_complete=True)
    values = values_of(connection, list(best.values()))
    since = _trials_since(connection, list(best.values()))
    found = {}
    for wall in walls:
        its, key = attempted.get(wall.study_id), wall.study_id
        started = wall.now if wall.started is None else wall.started
        ended = started if its is None or its.ended is None or wall.started is None else its.ended
        seconds = 0.0 if its is None else its.seconds or 0.0
        found[key] = Spent(
            (wall.now - started) / SECONDS_OF_HOUR,
            (ended - started) / SECONDS_OF_HOUR,
            seconds / SECONDS_OF_HOUR,
            values.get(best.get(key, -1)),
            since.get(key, 0),
        )
    return found


def _trials_since(connection: Connection, best: Sequence[int]) -> dict[int, int]:
    """By study, how many of its trials have ended since that one of these which is its best."""
    first = trials.alias("first")
    is_later = or_(
        trials.c.datetime_complete > first.c.datetime_complete,
        and_(trials.c.datetime_complete == first.c.datetime_complete, trials.c.number > first.c.number),
    )
    rows = connection.execute(
        select(trials.c.study_id, func.count())
        .join(first, first.c.study_id == trials.c.study_id)
        .where(first.c.trial_id.in_(best), trials.c.state.in_(OPTUNA_ENDED), ~was_refused(), is_later)
        .group_by(trials.c.study_id)
    )
    return {study_id: number for study_id, number in rows}


def device_seconds() -> ColumnElement[float]:
    """What an attempt has spent, of all its devices; of one that runs, until now."""
    seconds = case(
        (hpo_attempts.c.ended.is_(None), db_now() - hpo_attempts.c.started),
        else_=func.coalesce(hpo_attempts.c.seconds, hpo_attempts.c.ended - hpo_attempts.c.started),
    )
    return hpo_attempts.c.devices * hpo_attempts.c.share * seconds


def settled(
    spent: Spent, limits: Mapping[str, float | None], objectives: Objectives, *, is_complete: bool, is_running: bool
) -> tuple[Spent, str | None]:
    """What is spent, where the hours of a study that is over stop at its end; and the limit reached, in words.

    Args:
        is_complete: all its trials have ended, or nothing more is requested.
        is_running: some of its trials have not ended.
    """
    limit = reached_limit(limits, spent, objectives)
    if is_running:
        return spent, limit
    at_end = replace(spent, hours=spent.hours_at_end)
    if is_complete or reached_limit({**limits, "hours": None}, spent, objectives) is not None:
        return at_end, reached_limit(limits, at_end, objectives)
    if limit is not None:  # its hours: without a worker, they can run out after its last trial has ended
        return replace(spent, hours=max(limits["hours"] or 0.0, spent.hours_at_end)), limit
    return spent, None


def reached_limit(limits: Mapping[str, float | None], spent: Spent, objectives: Objectives) -> str | None:
    """The limit that ends the study, in words; None while there is none."""
    hours, gpu_hours = limits.get("hours"), limits.get("gpu_hours")
    target, patience = limits.get("target"), limits.get("patience")
    if target is not None and spent.best is not None:
        if objectives.are_several and spent.best >= target:
            return f"the target of a hypervolume of {target:g} is reached: {spent.best:.6g}"
        if not objectives.are_several and objectives.first.reaches(spent.best, target):
            return f"the target {target:g} is reached: {spent.best:.6g}"
    if hours is not None and spent.hours >= hours:
        return f"its {hours:g} hours are spent"
    if gpu_hours is not None and spent.gpu_hours >= gpu_hours:
        return f"its {gpu_hours:g} device-hours are spent"
    if patience is not None and spent.since_best >= patience:
        better = "one that enlarges the front" if objectives.are_several else "a better one"
        return f"{counted(spent.since_best, 'trial')} ended without {better}"
    return None
