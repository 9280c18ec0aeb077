"""A worker's poll of the store: progress, requests and expired leases of all its studies, in one transaction."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Double, Select, bindparam, func, select

from hpo.queue.leases import is_expired
from hpo.queue.notifications import is_due, store_setting
from hpo.queue.progress import requests_of
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_notifications, hpo_workers
from hpo.study.states import Request
from hpo.worker.fleet import poll_pause
from hpo.worker.study_run import StudyRun


@dataclass(frozen=True)
class Poll:
    """The results of a poll that are not kept with a study.

    Attributes:
        requests: for single trials, by trial_id.
        has_lost: leases have run out, see `leases.expire_leases`.
        workers: the number that are alive.
        store_targets: the store's own targets of notifications, as stored.
        due: notifications that somebody should send.
        seconds: between two polls, while workers are few.
        took: seconds that this one took.
    """

    requests: Mapping[int, Request]
    has_lost: bool
    workers: int
    store_targets: str | None = None
    due: int = 0
    seconds: float = 1.0
    took: float = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the worker polls again: the more workers there are, and the slower the store is, the longer."""
        return poll_pause(self.seconds, workers=self.workers, took=self.took)


def poll_store(store: Store, runs: Collection[StudyRun], trial_ids: Sequence[int]) -> Poll:
    """Bring the studies up to date, and read the requests for these trials."""
    since = time.monotonic()
    with store.read() as connection:
        row = connection.execute(_fleet(), {"lease": store.timing.lease}).one()
        for run in runs:
            run.read(connection)
        requests = requests_of(connection, trial_ids)
    for run in runs:
        run.settle()
        run.workers = row.workers
    took = time.monotonic() - since
    return Poll(requests, row.lost > 0, row.workers, row.store_targets, row.due, store.timing.poll, took)


@functools.cache  # to build it takes longer than to execute it
def _fleet() -> Select[Any]:
    """One row: the leases that have run out, the workers that are alive, and what there is to tell people."""
    expired = select(func.count()).where(*is_expired()).scalar_subquery()
    is_alive = hpo_workers.c.ended.is_(None), hpo_workers.c.beat > db_now() - bindparam("lease", type_=Double)
    alive = select(func.count()).where(*is_alive).scalar_subquery()
    due = select(func.count()).select_from(hpo_notifications).where(is_due()).scalar_subquery()
    return select(
        expired.label("lost"),
        alive.label("workers"),
        store_setting().scalar_subquery().label("store_targets"),
        due.label("due"),
    )
