"""Which trials of a study are trained at this moment, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from hpo.errors import StoreError
from hpo.store.tables import hpo_attempts, hpo_workers, trials
from hpo.study.states import OptunaState


@dataclass(frozen=True)
class LastAttempt:
    """The last attempt of a trial that has begun and not ended.

    Attributes:
        is_open: it is trained now, as far as the store knows.
        host: the machine; None for a trial of another program.
        worker: `host:process`; None for a trial of another program.
    """

    number: int
    is_open: bool
    host: str | None
    worker: str | None


def last_attempts(connection: Connection, study_id: int) -> list[LastAttempt]:
    """The last attempts of the study's trials that have begun and not ended, by the trial's number."""
    latest = (
        select(hpo_attempts.c.trial_id, func.max(hpo_attempts.c.number).label("number"))
        .group_by(hpo_attempts.c.trial_id)
        .subquery()
    )
    is_last = and_(hpo_attempts.c.trial_id == latest.c.trial_id, hpo_attempts.c.number == latest.c.number)
    rows = connection.execute(
        select(trials.c.number, hpo_attempts.c.ended, hpo_workers.c.host, hpo_workers.c.pid)
        .outerjoin(latest, latest.c.trial_id == trials.c.trial_id)
        .outerjoin(hpo_attempts, is_last)
        .outerjoin(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .where(trials.c.study_id == study_id, trials.c.state == OptunaState.RUNNING)
        .order_by(trials.c.number)
    )
    return [
        LastAttempt(row.number, row.ended is None, row.host, None if row.host is None else f"{row.host}:{row.pid}")
        for row in rows
    ]


def refuse_while_trained(attempts: Sequence[LastAttempt], name: str, *, advice: str) -> None:
    """Refuse what must not happen while workers train the study.

    Args:
        advice: what to do instead.

    Raises:
        StoreError: some of the attempts are open; names the trials and their workers.
    """
    trained = [attempt for attempt in attempts if attempt.is_open]
    if not trained:
        return
    workers = ", ".join(sorted({attempt.worker or "another program" for attempt in trained}))
    numbers = ", ".join(str(attempt.number) for attempt in trained[:5]) + (", ..." if len(trained) > 5 else "")
    trials_of_it = f"trials {numbers}" if len(trained) > 1 else f"trial {numbers}"
    raise StoreError(f"study '{name}' is being trained ({trials_of_it} by {workers}): {advice}")
