"""What a worker sees when it looks into the store: all of its studies, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from hpo.queue.leases import is_expired
from hpo.queue.progress import requests_of
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_workers
from hpo.study.states import Request
from hpo.worker.study_run import StudyRun

# Whatever is wished is to be seen within 5 s, and a lost trial to be claimed again within three beats.
LONGEST_FACTOR = 2.5
# That many can look every second without being much of a load for a small database: see docs/scaling.md.
_WORKERS_A_SECOND = 50


@dataclass(frozen=True)
class Poll:
    """What concerns the worker rather than a study.

    Attributes:
        requests: by trial_id, what is requested of single trials.
        has_lost: leases have run out, see `leases.reap`.
        workers: how many live.
        seconds: between two polls, while workers are few.
    """

    requests: Mapping[int, Request]
    has_lost: bool
    workers: int
    seconds: float = 1.0

    @property
    def pause(self) -> float:
        """Seconds until the worker is to look again: the more look, the less often each of them."""
        return self.seconds * min(LONGEST_FACTOR, max(1.0, self.workers / _WORKERS_A_SECOND))


def poll_store(store: Store, runs: Collection[StudyRun], trial_ids: Sequence[int]) -> Poll:
    """Bring the studies up to date, and see what is requested of these trials."""
    with store.read() as connection:
        expired = select(func.count()).where(*is_expired()).scalar_subquery()
        alive = select(func.count()).where(
            hpo_workers.c.ended.is_(None), hpo_workers.c.beat > db_now() - store.timing.lease
        )
        row = connection.execute(select(expired.label("lost"), alive.scalar_subquery().label("workers"))).one()
        for run in runs:
            run.see(connection)
        wishes = requests_of(connection, trial_ids)
    for run in runs:
        run.settle()
    return Poll(wishes, row.lost > 0, row.workers, store.timing.poll)
