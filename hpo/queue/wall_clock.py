"""A study's hours run while it is open: they stop when it is over, and continue from there when it is extended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, update

from hpo.queue.budget import SECONDS_OF_HOUR
from hpo.queue.progress import Progress, progress_of
from hpo.store.clock import db_now
from hpo.store.tables import hpo_studies


@contextmanager
def wall_clock_kept(connection: Connection, study_id: int) -> Iterator[float]:
    """Around a change of a study's state or limits: keeps the hours that are spent as they are, and gives them.

    The store has the time of the first claim only. When the change reopens the study, the time since it was over must
    not count; when it closes the study, the time since its last trial must not be lost: the start is moved by it.
    """
    before = progress_of(connection, study_id, hours="measured")
    assert before.spent is not None
    hours = before.spent.hours
    yield hours
    after = progress_of(connection, study_id, hours=hours)
    if _is_open(before) == _is_open(after):
        return
    at_end = hpo_studies.c.started + SECONDS_OF_HOUR * (before.spent.hours_at_end - hours)
    started = db_now() - SECONDS_OF_HOUR * hours if _is_open(after) else at_end
    mine = (hpo_studies.c.study_id == study_id) & hpo_studies.c.started.is_not(None)
    connection.execute(update(hpo_studies).where(mine).values(started=started))


def _is_open(found: Progress) -> bool:
    """Whether its hours run, as soon as there is a first claim."""
    return found.counts.begun > 0 or not found.is_over
