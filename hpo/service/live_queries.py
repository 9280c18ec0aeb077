"""The statements by which it is read what goes on in a store.

Each is built once: they are executed twice a second, and to build one takes longer than that.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, or_, select

from hpo.queue.report import SAMPLES_PER_SECOND
from hpo.store.clock import db_now
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_trials,
    hpo_workers,
    studies,
    trial_intermediate_values,
    trial_user_attributes,
    trial_values,
    trials,
)
from hpo.study.states import AttemptEnd

LONGEST_CURVE = 60  # values
LAST_FAILURES = 10
_FAILURES = (
    AttemptEnd.CRASH,
    AttemptEnd.OUT_OF_MEMORY,
    AttemptEnd.STALLED,
    AttemptEnd.OVERTIME,
    AttemptEnd.ERROR,
    AttemptEnd.DIVERGED,
)


@cache
def running_attempts() -> Select[Any]:
    """The open attempts of trials that have not ended."""
    peak = hpo_attempts.alias("before")
    return (
        select(
            trials.c.study_id,
            trials.c.trial_id,
            trials.c.number,
            hpo_attempts.c.number.label("attempt"),
            hpo_attempts.c.worker_id,
            hpo_attempts.c.slot,
            hpo_attempts.c.device,
            hpo_attempts.c.devices,
            hpo_attempts.c.share,
            (hpo_attempts.c.lease_until - db_now()).label("lease_left"),
            (db_now() - hpo_attempts.c.started).label("seconds"),
            hpo_workers.c.host,
            hpo_workers.c.pid,
            hpo_trials.c.config,
            hpo_trials.c.request,
            select(func.max(peak.c.memory)).where(peak.c.trial_id == trials.c.trial_id).scalar_subquery().label("peak"),
        )
        .select_from(hpo_attempts)
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(hpo_attempts.c.ended.is_(None))
    )


@cache
def open_workers() -> Select[Any]:
    """Workers that have not ended, with the seconds since their last heartbeat."""
    silence = db_now() - hpo_workers.c.beat
    return select(hpo_workers, silence.label("silence")).where(
        hpo_workers.c.ended.is_(None), silence < bindparam("shown")
    )


@cache
def values_of() -> Select[Any]:
    """The number, state and value of trials, and the least and the largest value of their curves."""
    curve = trial_intermediate_values.c
    of_trial = and_(curve.trial_id == trials.c.trial_id, curve.intermediate_value_type == "FINITE")
    return (
        select(
            trials.c.trial_id,
            trials.c.number,
            trials.c.state,
            trial_values.c.value,
            select(func.min(curve.intermediate_value)).where(of_trial).scalar_subquery().label("lowest"),
            select(func.max(curve.intermediate_value)).where(of_trial).scalar_subquery().label("highest"),
        )
        .outerjoin(trial_values, and_(trial_values.c.trial_id == trials.c.trial_id, trial_values.c.objective == 0))
        .where(trials.c.trial_id.in_(bindparam("ids", expanding=True)))
    )


@cache
def ends_of_curves() -> Select[Any]:
    """The last values of the curves of trials; of each, the database reads no more than these from its index."""
    own, before = trial_intermediate_values.c, trial_intermediate_values.alias("before")
    first = (
        select(before.c.step)
        .where(before.c.trial_id == trials.c.trial_id)
        .order_by(before.c.step.desc())
        .offset(LONGEST_CURVE - 1)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(own.trial_id, own.step, own.intermediate_value)
        .join(trials, trials.c.trial_id == own.trial_id)
        .where(trials.c.trial_id.in_(bindparam("ids", expanding=True)), own.step >= func.coalesce(first, -1))
        .order_by(own.trial_id, own.step)
    )


@cache
def last_epochs() -> Select[Any]:
    """The metrics of the last epoch of trials."""
    latest = hpo_epochs.alias("latest")
    last = select(func.max(latest.c.epoch)).where(latest.c.trial_id == trials.c.trial_id).scalar_subquery()
    return (
        select(hpo_epochs.c.trial_id, hpo_epochs.c.epoch, hpo_epochs.c.metrics)
        .join(trials, trials.c.trial_id == hpo_epochs.c.trial_id)
        .where(trials.c.trial_id.in_(bindparam("ids", expanding=True)), hpo_epochs.c.epoch == last)
    )


@cache
def speeds_of() -> Select[Any]:
    """Samples per second of trials, where they are stored."""
    attributes = trial_user_attributes.c
    return select(attributes.trial_id, attributes.value_json).where(
        attributes.trial_id.in_(bindparam("ids", expanding=True)), attributes.key == SAMPLES_PER_SECOND
    )


@cache
def failed_attempts() -> Select[Any]:
    """The last attempts that failed."""
    return (
        select(
            studies.c.study_name,
            trials.c.number,
            hpo_attempts.c.number.label("attempt"),
            hpo_attempts.c.kind,
            hpo_attempts.c.cause,
            hpo_attempts.c.error,
            hpo_attempts.c.ended,
        )
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .join(studies, studies.c.study_id == trials.c.study_id)
        .where(or_(*(hpo_attempts.c.kind == kind for kind in _FAILURES)), hpo_attempts.c.ended.is_not(None))
        .order_by(hpo_attempts.c.ended.desc(), hpo_attempts.c.attempt_id.desc())
        .limit(LAST_FAILURES)
    )
