"""Reads what goes on in a store, by a number of statements that does not grow with it.

`hpo top`, the server's pages and its API show this. Who looks again and again keeps a `LiveReader`, which forecasts the
time left of a study only as often as that takes a small part of the time.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, func, or_, select

from hpo.errors import failure_in_words
from hpo.queue.best import STUDIES_A_STATEMENT, best_of_each
from hpo.queue.front import number_on_front
from hpo.queue.overview import StudyOverview, overview
from hpo.queue.progress import find_study
from hpo.results.live import LiveFailure, LiveStudy, LiveTrial, LiveView, LiveWorker
from hpo.results.params import params_of
from hpo.results.standstill import SlotsInUse, standstill
from hpo.results.trial_records import finite
from hpo.service.time_left import time_left
from hpo.store import Store
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
from hpo.study.length import Unit
from hpo.study.limits import UNLIMITED
from hpo.study.states import AttemptEnd, OptunaState, Request, StudyState

LONGEST_CURVE = 60  # values
LAST_FAILURES = 10
SECONDS_OF_A_FORECAST, FORECAST_PAUSE = 2.0, 50.0  # a new one after so many seconds, and so many times what it takes
SECONDS_OF_A_LOST_WORKER = 600.0  # for which it is shown
SAMPLES_PER_SECOND = "samples_per_second"  # a metric, or an attribute
_FAILURES = (
    AttemptEnd.CRASH,
    AttemptEnd.OUT_OF_MEMORY,
    AttemptEnd.STALLED,
    AttemptEnd.OVERTIME,
    AttemptEnd.ERROR,
    AttemptEnd.DIVERGED,
)


def live_view(store: Store, study: str | None = None) -> LiveView:
    """What goes on in the store now.

    Args:
        study: of this one only; its workers may train others too.

    Raises:
        StoreError: there is no such study, or the store does not answer.
    """
    return LiveReader(store, study).look()


class LiveReader:
    """Looks at one store, or at one of its studies, again and again."""

    def __init__(self, store: Store, study: str | None = None) -> None:
        self._store, self._study = store, study
        self._forecasts: dict[tuple[int, float | None], _Forecast] = {}  # by study_id, and when it was created

    def look(self) -> LiveView:
        """What goes on now.

        Raises:
            StoreError: the study was deleted or renamed, or the store does not answer.
        """
        study_id = None if self._study is None else find_study(self._store, self._study)[0]
        with self._store.read() as connection:
            moment = connection.scalar(select(db_now())) or 0.0
            found = overview(connection, study_id)
            names = {study.study_id: study for study in found}
            running = connection.execute(_running()).all()
            workers = _workers(connection, running, lease=self._store.timing.lease)
            slots, best = _slots_in_use(workers, running), _best(connection, found)
            own: dict[int, list[Any]] = defaultdict(list)
            for row in running:
                own[row.study_id].append(row)
            return LiveView(
                moment,
                [
                    _study(
                        connection,
                        study,
                        slots,
                        best.get(study.study_id),
                        self._seconds_left(connection, study, slots, own[study.study_id]),
                    )
                    for study in found
                ],
                workers,
                _trials(connection, [row for row in running if row.study_id in names], names),
                _failures(connection, study_id),
            )

    def _seconds_left(
        self, connection: Connection, study: StudyOverview, slots: SlotsInUse, own: Sequence[Any]
    ) -> tuple[float, float] | None:
        """
        Args:
            own: its running trials.
        """
        if study.progress.created is None or slots.busy.get(study.study_id, 0) == 0:
            return None
        key, now = (study.study_id, study.progress.created), time.monotonic()
        known = self._forecasts.get(key)
        if known is None or now >= known.until:
            free = max(0, slots.slots - sum(slots.busy.values()))
            devices = sum(row.devices * row.share for row in own)
            left = time_left(
                connection,
                study.study_id,
                study.progress,
                slots=len(own) + free,
                devices=devices * (1 + free / len(own)),
            )
            took = time.monotonic() - now
            known = self._forecasts[key] = _Forecast(left, now, now + max(SECONDS_OF_A_FORECAST, FORECAST_PAUSE * took))
        return known.at(now)


@dataclass(frozen=True)
class _Forecast:
    """What was forecast, when, and until when it is shown, in monotonic seconds."""

    left: tuple[float, float] | None
    made: float
    until: float

    def at(self, now: float) -> tuple[float, float] | None:
        """What is left of it."""
        if self.left is None:
            return None
        least, most = (max(0.0, seconds - (now - self.made)) for seconds in self.left)
        return least, most


def _workers(connection: Connection, running: Sequence[Any], *, lease: float) -> list[LiveWorker]:
    busy: dict[int, int] = defaultdict(int)
    for row in running:
        busy[row.worker_id] += 1
    rows = connection.execute(_open_workers(), {"shown": SECONDS_OF_A_LOST_WORKER})
    found = [
        LiveWorker(
            row.worker_id,
            row.host,
            row.pid,
            row.slots,
            row.started,
            max(0.0, row.silence),
            busy[row.worker_id],
            row.silence > 2 * lease,
        )
        for row in rows
    ]
    return sorted(found, key=lambda worker: (worker.is_lost, worker.worker_id))


def _slots_in_use(workers: Sequence[LiveWorker], running: Sequence[Any]) -> SlotsInUse:
    alive = {worker.worker_id: worker for worker in workers if not worker.is_lost}
    busy: dict[int, int] = defaultdict(int)
    for row in running:
        if row.worker_id in alive:
            busy[row.study_id] += 1
    return SlotsInUse(len(alive), sum(worker.slots for worker in alive.values()), busy)


def _study(
    connection: Connection,
    study: StudyOverview,
    slots: SlotsInUse,
    best: tuple[int, float] | None,
    seconds_left: tuple[float, float] | None,
) -> LiveStudy:
    progress, objectives = study.progress, study.objectives
    counts, spent = progress.counts, {"trials": float(progress.counts.claimed)}
    limits = {name: float(limit) for name, limit in progress.limits.items() if limit is not None}
    if progress.spent is not None:
        amounts = {
            "hours": progress.spent.hours,
            "gpu_hours": progress.spent.gpu_hours,
            "target": progress.spent.best,
            "patience": float(progress.spent.since_best),
        }
        spent |= {name: amount for name, amount in amounts.items() if name in limits and amount is not None}
    is_done = progress.state == StudyState.RUNNING and counts.target > 0 and progress.is_over
    several = objectives.are_several
    return LiveStudy(
        name=study.name,
        state=StudyState.DONE if is_done else progress.state,
        reason=progress.reason or progress.limit,
        counts=counts.by_state,
        target=None if counts.target in (0, UNLIMITED) else counts.target,
        limits=limits,
        spent=spent,
        priority=progress.priority,
        metric=objectives.metrics[0] if objectives.metrics else None,
        direction=objectives.first,
        best_number=None if best is None else best[0],
        best_value=None if best is None else best[1],
        on_front=number_on_front(connection, study.study_id, objectives) if several else None,
        seconds_left=seconds_left,
        waiting_for=standstill(study.study_id, study.name, progress, slots),
        is_ours=progress.created is not None,
    )


def _best(connection: Connection, found: Sequence[StudyOverview]) -> dict[int, tuple[int, float]]:
    """(number, value) of the best trial of each study of one objective that has one."""
    directions = {study.study_id: study.objectives.first for study in found if not study.objectives.are_several}
    best = best_of_each(connection, directions)
    rows: dict[int, Any] = {}
    wanted = list(best.values())
    for start in range(0, len(wanted), STUDIES_A_STATEMENT):
        some = connection.execute(_values(), {"ids": wanted[start : start + STUDIES_A_STATEMENT]})
        rows |= {row.trial_id: row for row in some}
    result = {}
    for study_id, trial_id in best.items():
        row = rows[trial_id]
        of_curve = row.lowest if directions[study_id].better(0.0, 1.0) else row.highest
        value = row.value if row.state == OptunaState.COMPLETE else of_curve
        if value is not None:
            result[study_id] = row.number, float(value)
    return result


def _trials(connection: Connection, running: Sequence[Any], named: Mapping[int, StudyOverview]) -> list[LiveTrial]:
    if not running:
        return []
    ids = {"ids": [row.trial_id for row in running]}
    curves: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for row in connection.execute(_curves(), ids):
        if (value := finite(row.intermediate_value)) is not None:
            curves[row.trial_id].append((row.step, value))
    last = {row.trial_id: row for row in connection.execute(_last_epochs(), ids)}
    speeds = {row.trial_id: json.loads(row.value_json) for row in connection.execute(_speeds(), ids)}
    params = params_of(connection, trials.c.trial_id.in_(ids["ids"]))
    found = []
    for row in running:
        config = json.loads(row.config) if row.config else {}
        unit, epoch = Unit.of(config), last.get(row.trial_id)
        metrics = _finite_numbers(json.loads(epoch.metrics)) if epoch is not None else {}
        curve, longest = curves[row.trial_id], config.get(unit.plural)
        objectives = named[row.study_id].objectives
        speed = metrics.get(SAMPLES_PER_SECOND, speeds.get(row.trial_id))
        found.append(
            LiveTrial(
                study=named[row.study_id].name,
                number=row.number,
                worker_id=row.worker_id,
                worker=f"{row.host}:{row.pid}",
                slot=row.slot,
                device=row.device,
                devices=row.devices,
                share=row.share,
                attempt=row.attempt,
                unit=unit,
                epoch=epoch.epoch if epoch is not None else curve[-1][0] if curve else 0,
                max_epochs=longest if isinstance(longest, int) else None,
                metric=objectives.metrics[0] if objectives.metrics else None,
                metrics=metrics,
                value=curve[-1][1] if curve else None,
                curve=curve,
                lease_left=row.lease_left,
                memory=row.peak,
                seconds=max(0.0, row.seconds),
                samples_per_second=float(speed) if isinstance(speed, int | float) else None,
                request=Request(row.request) if row.request else None,
                params=params.get(row.trial_id, {}),
            )
        )
    return sorted(found, key=lambda trial: (trial.study, trial.worker_id, trial.slot, trial.number))


def _failures(connection: Connection, study_id: int | None) -> list[LiveFailure]:
    statement = _failed_attempts()
    if study_id is not None:
        statement = statement.where(trials.c.study_id == study_id)
    return [
        LiveFailure(
            row.study_name,
            row.number,
            row.attempt,
            row.kind,
            row.cause or row.kind,
            failure_in_words(row.cause or row.kind, row.error),
            row.ended,
        )
        for row in connection.execute(statement)
    ]


def _finite_numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}


@cache  # as the next ones: they are executed twice a second, and to build one takes longer than that
def _running() -> Select[Any]:
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
def _open_workers() -> Select[Any]:
    silence = db_now() - hpo_workers.c.beat
    return select(hpo_workers, silence.label("silence")).where(
        hpo_workers.c.ended.is_(None), silence < bindparam("shown")
    )


@cache
def _values() -> Select[Any]:
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
def _curves() -> Select[Any]:
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
def _last_epochs() -> Select[Any]:
    latest = hpo_epochs.alias("latest")
    last = select(func.max(latest.c.epoch)).where(latest.c.trial_id == trials.c.trial_id).scalar_subquery()
    return (
        select(hpo_epochs.c.trial_id, hpo_epochs.c.epoch, hpo_epochs.c.metrics)
        .join(trials, trials.c.trial_id == hpo_epochs.c.trial_id)
        .where(trials.c.trial_id.in_(bindparam("ids", expanding=True)), hpo_epochs.c.epoch == last)
    )


@cache
def _speeds() -> Select[Any]:
    attributes = trial_user_attributes.c
    return select(attributes.trial_id, attributes.value_json).where(
        attributes.trial_id.in_(bindparam("ids", expanding=True)), attributes.key == SAMPLES_PER_SECOND
    )


@cache
def _failed_attempts() -> Select[Any]:
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
