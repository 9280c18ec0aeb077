"""What a worker sees when it looks into the store: all of its studies, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from hpo import leases, tally
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_workers
from hpo.worker.studyrun import StudyRun

# Whatever is wished is to be seen within 5 s, and a lost trial to be claimed again within three beats.
LOOK_SECONDS = 1.0
LONGEST_LOOK_SECONDS = 2.5
# That many can look every second without being much of a load for a small database: see docs/scaling.md.
_WORKERS_A_SECOND = 50


@dataclass(frozen=True)
class Seen:
    """What concerns the worker rather than a study.

    Attributes:
        wishes: by trial_id, what is wished of single trials.
        has_lost: leases have run out, see `leases.reap`.
        workers: how many live.
    """

    wishes: Mapping[int, str]
    has_lost: bool
    workers: int

    @property
    def pause(self) -> float:
        """Seconds until the worker is to look again: the more look, the less often each of them."""
        return min(LONGEST_LOOK_SECONDS, LOOK_SECONDS * max(1.0, self.workers / _WORKERS_A_SECOND))


def look(store: Store, runs: Collection[StudyRun], trial_ids: Sequence[int]) -> Seen:
    """Bring the studies up to date, and see what is wished of these trials."""
    with store.read() as connection:
        expired = select(func.count()).where(*leases.is_expired()).scalar_subquery()
        alive = select(func.count()).where(
            hpo_workers.c.ended.is_(None), hpo_workers.c.beat > db_now() - leases.LEASE_SECONDS
        )
        row = connection.execute(select(expired.label("lost"), alive.scalar_subquery().label("workers"))).one()
        for run in runs:
            run.see(connection)
        wishes = tally.wishes(connection, trial_ids)
    for run in runs:
        run.settle()
    return Seen(wishes, row.lost > 0, row.workers)
