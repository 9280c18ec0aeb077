"""Reads what goes on in a store, by a number of statements that does not grow with it.

`hpo top`, the server's pages and its API show this. Who looks again and again keeps a `LiveReader`, which forecasts the
time left of a study, by some statements more, only as often as that takes a small part of the time.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select

from hpo.errors import failure_in_words
from hpo.queue.best import STUDIES_A_STATEMENT, best_of_each
from hpo.queue.front import number_on_front
from hpo.queue.overview import StudyOverview, overview
from hpo.queue.progress import find_study
from hpo.queue.report import SAMPLES_PER_SECOND
from hpo.results.live import LiveFailure, LiveStudy, LiveTrial, LiveView, LiveWorker
from hpo.results.params import params_of
from hpo.results.standstill import SlotsInUse, standstill
from hpo.results.trial_records import finite
from hpo.service.live_queries import (
    ends_of_curves,
    failed_attempts,
    last_epochs,
    open_workers,
    running_attempts,
    speeds_of,
    values_of,
)
from hpo.service.time_left import time_left
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import (
    trials,
)
from hpo.study.length import Unit
from hpo.study.limits import UNLIMITED
from hpo.study.states import OptunaState, Request, StudyState

SECONDS_OF_STUDIES, SECONDS_OF_A_FORECAST = 1.0, 2.0  # after which they are read anew, or made anew
PAUSE_FACTOR = 50.0  # or after so many times as long as that takes
SECONDS_OF_A_LOST_WORKER = 600.0  # for which it is shown


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
        self._studies: tuple[list[StudyOverview], dict[int, tuple[int, float]]] = [], {}  # and their best trials
        self._studies_until = 0.0  # monotonic seconds
        self._known: dict[int, _Known] = {}  # by trial_id
        self._forecasts: dict[tuple[int, float | None], _Forecast] = {}  # by study_id, and when it was created

    def look(self, *, is_fresh: bool = False) -> LiveView:
        """What goes on now; of studies, as of a second ago, or of longer where it takes long to read them.

        Args:
            is_fresh: of studies too.

        Raises:
            StoreError: the study was deleted or renamed, or the store does not answer.
        """
        study_id = None if self._study is None else find_study(self._store, self._study)[0]
        with self._store.read() as connection:
            moment = connection.scalar(select(db_now())) or 0.0
            is_of_another = study_id is not None and [one.study_id for one in self._studies[0]] != [study_id]
            if is_fresh or is_of_another or time.monotonic() >= self._studies_until:
                self._read_studies(connection, study_id)
            found, best = self._studies
            names = {study.study_id: study for study in found}
            running = connection.execute(running_attempts()).all()
            workers = _workers(connection, running, lease=self._store.timing.lease)
            slots = _slots_in_use(workers, running)
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
                self._trials(connection, [row for row in running if row.study_id in names], names),
                _failures(connection, study_id),
            )

    def _read_studies(self, connection: Connection, study_id: int | None) -> None:
        started = time.monotonic()
        found = overview(connection, study_id)
        self._studies = found, _best(connection, found)
        now = time.monotonic()
        self._studies_until = now + max(SECONDS_OF_STUDIES, PAUSE_FACTOR * (now - started))

    def _trials(
        self, connection: Connection, running: Sequence[Any], named: Mapping[int, StudyOverview]
    ) -> list[LiveTrial]:
        ids = [row.trial_id for row in running]
        last = {row.trial_id: row for row in connection.execute(last_epochs(), {"ids": ids})} if ids else {}
        reached = {trial_id: row.epoch for trial_id, row in last.items()}
        self._know(connection, running, reached)
        speeds = {row.trial_id: json.loads(row.value_json) for row in connection.execute(speeds_of(), {"ids": ids})}
        found = []
        for row in running:
            known, epoch = self._known[row.trial_id], last.get(row.trial_id)
            metrics = _finite_numbers(json.loads(epoch.metrics)) if epoch is not None else {}
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
                    unit=known.unit,
                    epoch=reached.get(row.trial_id, known.curve[-1][0] if known.curve else 0),
                    max_epochs=known.max_epochs,
                    metric=objectives.metrics[0] if objectives.metrics else None,
                    metrics=metrics,
                    value=known.curve[-1][1] if known.curve else None,
                    curve=known.curve,
                    lease_left=row.lease_left,
                    memory=row.peak,
                    seconds=max(0.0, row.seconds),
                    samples_per_second=float(speed) if isinstance(speed, int | float) else None,
                    request=Request(row.request) if row.request else None,
                    params=known.params,
                )
            )
        return sorted(found, key=lambda trial: (trial.study, trial.worker_id, trial.slot, trial.number))

    def _know(self, connection: Connection, running: Sequence[Any], reached: Mapping[int, int]) -> None:
        """Read what is new of the running trials: the curves of those with a new epoch, what others are."""
        before, self._known = self._known, {}
        keys = {row.trial_id: (row.study_id, row.attempt, row.config) for row in running}
        new = [key for key, its in keys.items() if key not in before or before[key].of != its]
        changed = [key for key in keys if key in new or before[key].reached != reached.get(key)]
        params = params_of(connection, trials.c.trial_id.in_(new)) if new else {}
        curves: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for row in connection.execute(ends_of_curves(), {"ids": changed}) if changed else ():
            if (value := finite(row.intermediate_value)) is not None:
                curves[row.trial_id].append((row.step, value))
        for key, of in keys.items():
            if key in new:
                config = json.loads(of[2]) if of[2] else {}
                unit = Unit.of(config)
                longest = config.get(unit.plural)
                most = longest if isinstance(longest, int) else None
                self._known[key] = _Known(of, reached.get(key), unit, most, params.get(key, {}), curves[key])
            elif key in changed:
                self._known[key] = replace(before[key], reached=reached.get(key), curve=curves[key])
            else:
                self._known[key] = before[key]

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
            known = self._forecasts[key] = _Forecast(left, now, now + max(SECONDS_OF_A_FORECAST, PAUSE_FACTOR * took))
        return known.at(now)


@dataclass(frozen=True)
class _Known:
    """What is read of a running trial once, or once an epoch.

    Attributes:
        of: the study, the attempt and the configuration that it is of.
    """

    of: tuple[int, int, str | None]
    reached: int | None
    unit: Unit
    max_epochs: int | None
    params: Mapping[str, Any]
    curve: list[tuple[int, float]]


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
    rows = connection.execute(open_workers(), {"shown": SECONDS_OF_A_LOST_WORKER})
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
        some = connection.execute(values_of(), {"ids": wanted[start : start + STUDIES_A_STATEMENT]})
        rows |= {row.trial_id: row for row in some}
    result = {}
    for study_id, trial_id in best.items():
        row = rows[trial_id]
        of_curve = row.lowest if directions[study_id].better(0.0, 1.0) else row.highest
        value = row.value if row.state == OptunaState.COMPLETE else of_curve
        if value is not None:
            result[study_id] = row.number, float(value)
    return result


def _failures(connection: Connection, study_id: int | None) -> list[LiveFailure]:
    statement = failed_attempts()
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
