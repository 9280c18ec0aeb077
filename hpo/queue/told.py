"""How many notifications of a study were sent, wait, or were given up; without what it takes to send one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, true

from hpo.store.clock import db_now
from hpo.store.tables import hpo_notifications


@dataclass(frozen=True)
class Told:
    """How many notifications were sent, wait, and were given up; and the last error, in words.

    Attributes:
        oldest: seconds for which the oldest one has waited.
    """

    sent: int = 0
    waiting: int = 0
    given_up: int = 0
    error: str | None = None
    oldest: float = 0.0

    def __str__(self) -> str:
        numbers = {"sent": self.sent, "not sent yet": self.waiting, "given up": self.given_up}
        words = ", ".join(f"{number} {what}" for what, number in numbers.items() if number)
        return f"{words} ({self.error.splitlines()[0]})" if self.error else words


def told_of(connection: Connection, study_id: int | None = None) -> dict[int, Told]:
    """By study, of those that have any notifications; of all studies, or of one."""
    rows = connection.execute(
        select(
            hpo_notifications.c.study_id,
            hpo_notifications.c.ended,
            hpo_notifications.c.error,
            (db_now() - hpo_notifications.c.created).label("age"),
        )
        .where(true() if study_id is None else hpo_notifications.c.study_id == study_id)
        .order_by(hpo_notifications.c.notification_id)
    )
    found: dict[int, Told] = {}
    for row in rows:
        before = found.get(row.study_id, Told())
        is_waiting, is_lost = row.ended is None, row.ended is not None and row.error is not None
        found[row.study_id] = Told(
            before.sent + (not is_waiting and not is_lost),
            before.waiting + is_waiting,
            before.given_up + is_lost,
            row.error or before.error,
            max(before.oldest, row.age if is_waiting else 0.0),
        )
    return found
