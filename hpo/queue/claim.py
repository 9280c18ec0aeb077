"""Claims: a worker takes its next trial from the study's queue in the store.

A trial cannot be claimed twice, nor beyond the budget: a claim locks the study's row, counts, and inserts the trial and
its attempt in one transaction. A trial is one row of Optuna's for all its attempts; an attempt is leased to one worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select, true, update

from hpo.queue.budget import reached_limit, spent_of
from hpo.queue.counts import Counts
from hpo.queue.front import objectives_of
from hpo.queue.idle import idle_trials
from hpo.queue.progress import counts_of
from hpo.queue.studies import StoredStudy
from hpo.store import Store
from hpo.store.clock import db_now, db_utc
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_trials, studies, trials
from hpo.study.states import OptunaState, Request, StudyState


@dataclass(frozen=True)
class Claim:
    """A trial that this worker trains, as long as it renews the lease."""

    study_id: int
    trial_id: int
    number: int
    study: str  # its name at this moment
    attempt_id: int
    attempt: int  # 1, 2, ...
    params: Mapping[str, Any] | None  # of an earlier attempt; None when they are still to be sampled
    seconds_before: float = 0.0  # of the attempts before
    is_new: bool = False  # created by this claim
    is_promoted: bool = False  # it was paused at a rung


@dataclass(frozen=True)
class Place:
    """Where a trial will be trained: a worker's slot by number, its devices in words, their number, and its share."""

    slot: int
    device: str
    devices: int
    share: float = 1.0


class StudyBusyError(Exception):
    """Another worker claims a trial of this study at this moment: try again a little later."""


def claim_trial(
    store: Store,
    study_id: int,
    *,
    worker_id: int,
    slot: int,
    device: str,
    devices: int = 1,
    promotable: Sequence[int] = (),
    known: StoredStudy | None = None,
    waits: bool = True,
) -> Claim | None:
    """Take a trial for one slot; None when there is nothing to take. See `claim_trials`."""
    place = Place(slot, device, devices)
    found = claim_trials(
        store, study_id, worker_id=worker_id, places=[place], promotable=promotable, known=known, waits=waits
    )
    return found[0] if found else None


def claim_trials(
    store: Store,
    study_id: int,
    *,
    worker_id: int,
    places: Sequence[Place],
    promotable: Sequence[int] = (),
    known: StoredStudy | None = None,
    waits: bool = True,
) -> list[Claim]:
    """Take a trial for each place: an idle one, else one promoted from its rung, else a waiting one, else a new one.

    Fewer, or none, when there is nothing more to take: all are taken, a limit is reached, or the study is not running.

    Args:
        promotable: numbers of the trials that may be promoted from their rung, in order of preference.
        known: the study, as the worker knows it. One that has the number of a deleted study in SQLite is not meant, and
            no study that goes on with other data or code.
        waits: for other claims of the study to end. Many that wait at a time would occupy all connections.

    Raises:
        StudyBusyError: another claim of the study is under way, and this one does not wait.
    """
    is_meant: ColumnElement[bool] = true()
    if known is not None:
        is_as_known = hpo_studies.c.change_accepted.is_not_distinct_from(known.change_accepted)
        is_meant = and_(hpo_studies.c.created == known.created, is_as_known)
    claims: list[Claim] = []
    with store.write() as connection:
        # Optuna's own scripts lock the study's row when they number a trial.
        study = connection.execute(
            select(
                hpo_studies.c.state,
                hpo_studies.c.trials_target,
                hpo_studies.c.limits,
                hpo_studies.c.started,
                studies.c.study_name,
            )
            .join(studies, studies.c.study_id == hpo_studies.c.study_id)
            .where(hpo_studies.c.study_id == study_id, is_meant)
            .with_for_update(of=(studies, hpo_studies), skip_locked=not waits)
        ).first()
        if study is None and not waits:  # a deleted one is found by the next poll
            raise StudyBusyError
        if study is None or study.state != StudyState.RUNNING or _is_spent(connection, study_id, study):
            return []
        counted = counts_of(connection, study_id, target=study.trials_target)
        for place in places:
            trial = _take(connection, study_id, counted, promotable)
            if trial is None:
                break
            attempts, seconds = (0, 0.0) if trial.is_fresh else _attempts(connection, trial.trial_id)
            inserted = connection.execute(
                insert(hpo_attempts).values(
                    trial_id=trial.trial_id,
                    number=attempts + 1,
                    worker_id=worker_id,
                    slot=place.slot,
                    device=place.device,
                    devices=place.devices,
                    share=place.share,
                    started=db_now(),
                    lease_until=db_now() + store.timing.lease,
                )
            )
            counted = trial.counted
            claims.append(
                Claim(
                    study_id,
                    trial.trial_id,
                    trial.number,
                    study.study_name,
                    int(inserted.inserted_primary_key[0]),  # type: ignore[index]
                    attempts + 1,
                    trial.params,
                    seconds,
                    is_new=trial.is_new,
                    is_promoted=trial.is_promoted,
                )
            )
        if claims and study.started is None:
            connection.execute(update(hpo_studies).where(hpo_studies.c.study_id == study_id).values(started=db_now()))
    return claims


@dataclass(frozen=True)
class _Taken:
    """A trial that nobody else can take now.

    Attributes:
        is_fresh: it has had no attempt.
        is_new: it did not exist before.
        counted: the study's trials with it.
    """

    trial_id: int
    number: int
    params: Mapping[str, Any] | None
    counted: Counts
    is_fresh: bool = False
    is_new: bool = False
    is_promoted: bool = False


def _take(connection: Connection, study_id: int, counted: Counts, promotable: Sequence[int]) -> _Taken | None:
    idle = idle_trials(study_id).where(hpo_trials.c.request.is_(None)).limit(1)
    trial = connection.execute(idle).first() if counted.begun else None
    if counted.claimed > counted.target and _is_enough(connection, study_id, counted):
        return None  # the target was lowered: the running trials already fill it
    if trial is not None:
        return _Taken(trial.trial_id, trial.number, _params(trial.config), counted)
    trial = _promoted(connection, study_id, promotable) if promotable else None
    if trial is not None:
        return _Taken(trial.trial_id, trial.number, _params(trial.config), counted, is_promoted=True)
    if counted.claimed >= counted.target:
        return None
    trial = _waiting(connection, study_id) if counted.waiting else None
    if trial is not None:
        counted = replace(counted, waiting=counted.waiting - 1, begun=counted.begun + 1)
        # one that was reset after its attempts, by another program, waits too
        return _Taken(trial.trial_id, trial.number, _params(trial.config), counted)
    number = counted.next_number
    inserted = connection.execute(
        insert(trials).values(study_id=study_id, number=number, state=OptunaState.RUNNING, datetime_start=db_utc())
    )
    trial_id = int(inserted.inserted_primary_key[0])  # type: ignore[index]
    counted = replace(counted, begun=counted.begun + 1)
    return _Taken(trial_id, number, None, counted, is_fresh=True, is_new=True)


def _promoted(connection: Connection, study_id: int, promotable: Sequence[int]) -> Row[Any, Any, Any, Any] | None:
    """The first of these that is paused at its rung; it no longer awaits promotion."""
    wanted = hpo_trials.c.request == Request.AWAIT_PROMOTION, trials.c.number.in_(promotable)
    paused = connection.execute(idle_trials(study_id).where(*wanted)).all()
    chosen = min(paused, key=lambda row: promotable.index(row.number), default=None)
    if chosen is not None:
        connection.execute(update(hpo_trials).where(hpo_trials.c.trial_id == chosen.trial_id).values(request=None))
    return chosen


def _waiting(connection: Connection, study_id: int) -> Row[Any, Any, Any] | None:
    row = connection.execute(
        select(trials.c.trial_id, trials.c.number, hpo_trials.c.config)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == OptunaState.WAITING, hpo_trials.c.request.is_(None))
        .order_by(trials.c.number)
        .limit(1)
        .with_for_update(of=trials, skip_locked=True)
    ).first()
    if row is not None:
        connection.execute(
            update(trials)
            .where(trials.c.trial_id == row.trial_id)
            .values(state=OptunaState.RUNNING, datetime_start=db_utc())
        )
    return row


def _attempts(connection: Connection, trial_id: int) -> tuple[int, float]:
    """(how many the trial had, their seconds)."""
    row = connection.execute(
        select(func.max(hpo_attempts.c.number), func.sum(hpo_attempts.c.seconds)).where(
            hpo_attempts.c.trial_id == trial_id
        )
    ).one()
    return row[0] or 0, row[1] or 0.0


def _params(config: str | None) -> Mapping[str, Any] | None:
    params: Mapping[str, Any] | None = json.loads(config).get("params") if config else None
    return params


def _is_spent(connection: Connection, study_id: int, study: Any) -> bool:
    limits = json.loads(study.limits)
    if not any(limit is not None for limit in limits.values()):
        return False
    objectives = objectives_of(connection, study_id)
    return reached_limit(limits, spent_of(connection, study_id, objectives), objectives) is not None


def _is_enough(connection: Connection, study_id: int, counted: Counts) -> bool:
    """Whether the ended and the running trials reach the target."""
    waiting = connection.scalar(select(func.count()).select_from(idle_trials(study_id).subquery())) or 0
    return counted.claimed - waiting >= counted.target
