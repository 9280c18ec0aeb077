"""An attempt to train a trial, as a plain record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from hpo.store.tables import hpo_attempts, hpo_workers, trials
from hpo.study.states import AttemptEnd


@dataclass(frozen=True)
class AttemptRecord:
    """One attempt to train a trial.

    Attributes:
        number: counts from 1 within the trial.
        end: how it ended; None while it runs.
        cause: the same in words.
        error: message or traceback, if it failed.
        from_epoch: the epoch whose checkpoint it resumed from; 0 from scratch, None before the model was built.
        worker: `host:process`.
        started: UTC.
        seconds: None while it runs, and where its worker was lost.
    """

    number: int
    end: AttemptEnd | None
    cause: str | None
    error: str | None
    from_epoch: int | None
    device: str | None
    worker: str
    started: datetime
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self) | {"started": self.started.isoformat(timespec="milliseconds")}

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> AttemptRecord:
        """From what `to_json` gives."""
        end = None if plain["end"] is None else AttemptEnd(plain["end"])
        return AttemptRecord(**{**plain, "end": end, "started": datetime.fromisoformat(plain["started"])})


def read_attempts(connection: Connection, study_id: int, number: int) -> list[AttemptRecord]:
    """The attempts of a trial, the first one first.

    Args:
        number: of the trial, within its study.
    """
    rows = connection.execute(
        select(hpo_attempts, hpo_workers.c.host, hpo_workers.c.pid)
        .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.number == number)
        .order_by(hpo_attempts.c.number)
    )
    return [
        AttemptRecord(
            number=row.number,
            end=None if row.kind is None else AttemptEnd(row.kind),
            cause=row.cause,
            error=row.error,
            from_epoch=row.from_epoch,
            device=row.device,
            worker=f"{row.host}:{row.pid}",
            started=datetime.fromtimestamp(row.started, UTC),
            seconds=row.seconds,
        )
        for row in rows
    ]
