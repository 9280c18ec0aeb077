"""`/metrics` for Prometheus: what a store's studies, workers and slots do, and how fast the store answers.

A scrape takes a fixed number of statements, and has one label a study for the newest ones only.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, event, func, select
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import HpoError
from hpo.printable import in_a_line
from hpo.queue.budget import SECONDS_OF_HOUR, device_seconds
from hpo.queue.overview import trial_counts
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_notifications, hpo_studies, hpo_workers, studies, trials
from hpo.web.access import Caller, Role, need
from hpo.web.site import Site

router = APIRouter(include_in_schema=False)

MOST_STUDIES = 100  # with a label of their own, the newest; the others are one
OTHERS = "(older studies)"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@router.get("/metrics")
def metrics(request: Request, caller: Annotated[Caller, Depends(need(Role.VIEWER))]) -> Response:
    """All metrics, as text; also while the store is unreachable, which `hpo_store_up` tells."""
    found: Metrics = request.app.state.metrics
    return Response(generate_latest(found.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class Metrics(Collector):
    """What a scrape collects, and the time that each of the server's own statements takes.

    Attributes:
        registry: with the process's memory and open files besides.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self._latency = Histogram(
            "hpo_store_statement_seconds",
            "How long the store took to answer a statement of this server",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        site.when_opened.append(self._watch)

    def describe(self) -> list[Metric]:
        """Nothing: it would read the store to be registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of the store, as of now."""
        try:
            with self._site.store.read() as connection:
                found = list(_of_store(connection, self._site.store.timing.lease))
        except (HpoError, SQLAlchemyError):
            found = []
        yield GaugeMetricFamily("hpo_store_up", "Whether the store answers", value=float(bool(found)))
        yield from found

    def _watch(self, store: Store) -> None:
        """Measure the statements of a store."""

        def before(connection: Connection, *_: Any) -> None:
            connection.info["hpo_began"] = time.perf_counter()

        def after(connection: Connection, *_: Any) -> None:
            self._latency.observe(time.perf_counter() - connection.info["hpo_began"])

        event.listen(store.engine, "before_cursor_execute", before)
        event.listen(store.engine, "after_cursor_execute", after)


def _of_store(connection: Connection, lease: float) -> Iterator[Metric]:
    """
    Args:
        lease: seconds without a heartbeat after which a worker counts as lost.
    """
    rows = connection.execute(
        select(studies.c.study_id, studies.c.study_name, hpo_studies.c.state, hpo_studies.c.trials_target)
        .select_from(studies.outerjoin(hpo_studies))
        .order_by(studies.c.study_id.desc())
    ).all()
    names = {row.study_id: in_a_line(row.study_name) for row in rows[:MOST_STUDIES]}

    in_states = Counter(row.state or "foreign" for row in rows)
    yield _family("hpo_studies", "Studies by their state", ["state"], {(state,): n for state, n in in_states.items()})

    counts = trial_counts(connection, {row.study_id: row.trials_target for row in rows if row.state is not None})
    numbers: dict[tuple[str, ...], float] = defaultdict(float)
    for study_id, counted in counts.items():
        for state, number in counted.by_state.items():
            numbers[names.get(study_id, OTHERS), str(state)] += number
    yield _family("hpo_trials", "Trials by study and state", ["study", "state"], numbers)

    hours: dict[tuple[str, ...], float] = defaultdict(float)
    spent = (
        select(trials.c.study_id, func.sum(device_seconds()).label("seconds"))
        .join(hpo_attempts, hpo_attempts.c.trial_id == trials.c.trial_id)
        .group_by(trials.c.study_id)
    )
    for row in connection.execute(spent):
        hours[names.get(row.study_id, OTHERS),] += (row.seconds or 0.0) / SECONDS_OF_HOUR
    yield _family("hpo_device_hours", "Hours of devices that trials took, running ones included", ["study"], hours)

    is_alive = hpo_workers.c.ended.is_(None) & (hpo_workers.c.beat > db_now() - lease)
    workers = connection.execute(
        select(func.count().label("number"), func.sum(hpo_workers.c.slots).label("slots")).where(is_alive)
    ).one()
    yield GaugeMetricFamily("hpo_workers", "Workers that are alive", value=workers.number)
    yield GaugeMetricFamily("hpo_slots", "Slots of workers that are alive", value=workers.slots or 0)

    running = (
        select(func.count())
        .select_from(hpo_attempts)
        .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .where(hpo_attempts.c.ended.is_(None), is_alive)
    ).scalar_subquery()
    waiting = select(func.count()).where(hpo_notifications.c.ended.is_(None)).scalar_subquery()
    ended = select(db_now() - func.max(hpo_attempts.c.ended)).scalar_subquery()
    row = connection.execute(select(running.label("running"), waiting.label("waiting"), ended.label("since_end"))).one()
    yield GaugeMetricFamily("hpo_slots_busy", "Slots that train a trial", value=row.running)
    yield GaugeMetricFamily(
        "hpo_notifications_waiting", "Notifications that are not yet delivered to all their targets", value=row.waiting
    )
    if row.since_end is not None:
        yield GaugeMetricFamily(
            "hpo_seconds_since_last_end", "Seconds since an attempt at a trial ended, however it did", row.since_end
        )


def _family(name: str, text: str, labels: list[str], values: dict[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
