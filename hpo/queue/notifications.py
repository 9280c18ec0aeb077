"""What people are told of studies: rows that are written once, taken with a lease, and sent by whichever worker can.

What happened is written by `hpo.queue.occasions`. A row stays when it has been sent: it keeps the event from being told
again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_notifications, hpo_settings, hpo_studies, studies
from hpo.study.notify import Target, targets_of

log = logging.getLogger(__name__)

SETTING = "notify"  # the key of a store's own targets
# After a failed try; the last of them is half an hour after the first.
PAUSES_SECONDS = (2.0, 10.0, 50.0, 250.0, 1500.0)
MOST_TRIES = len(PAUSES_SECONDS) + 1
LOST_SENDER = "whoever sent it ended before it was known whether it arrived"

_table = hpo_notifications.c


@dataclass(frozen=True)
class StoreTargets:
    """A store's own targets, which are told of all its studies.

    Attributes:
        since: seconds since 1970: what ended before is not told.
    """

    targets: tuple[Target, ...] = ()
    since: float = 0.0

    @staticmethod
    def of(text: str | None) -> StoreTargets:
        """From the setting as stored; without targets where there is none, or a newer release wrote it."""
        try:
            plain = json.loads(text) if text else {}
            return StoreTargets(targets_of(plain.get("targets", [])), float(plain.get("since", 0.0)))
        except ValueError as error:  # also pydantic's
            log.warning("the store's notifications cannot be read by this version: %s", str(error).splitlines()[0])
            return StoreTargets()


def load_store_targets(connection: Connection) -> StoreTargets:
    """The store's own targets."""
    return StoreTargets.of(connection.scalar(store_setting()))


def store_setting() -> Any:
    """A query for the setting as stored."""
    return select(hpo_settings.c.value).where(hpo_settings.c.key == SETTING)


def save_store_targets(store: Store, targets: Sequence[Target]) -> None:
    """Replace the store's own targets; without any, the setting is removed."""
    with store.write() as connection:
        connection.execute(hpo_settings.delete().where(hpo_settings.c.key == SETTING))
        if targets:
            plain = {
                "targets": [one.model_dump(mode="json", exclude_defaults=True, by_alias=True) for one in targets],
                "since": connection.scalar(select(db_now())),
            }
            connection.execute(insert(hpo_settings).values(key=SETTING, value=json.dumps(plain)))


def targets_in(spec: str | None) -> tuple[Target, ...]:
    """The targets of a study, from its file as stored; none where a newer release wrote it."""
    plain = json.loads(spec)["spec"].get("notify") if spec else None
    try:
        return targets_of(plain)
    except ValueError as error:
        log.warning("a study's notifications cannot be read by this version: %s", str(error).splitlines()[0])
        return ()


def add_notification(
    connection: Connection, study_id: int, event: str, occasion: str, content: Mapping[str, Any]
) -> None:
    """Write what is to be told, unless it was written before."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(hpo_notifications).on_conflict_do_nothing(
        index_elements=["study_id", "event", "occasion"]
    )
    row = {"event": event, "occasion": occasion, "content": json.dumps(content), "created": db_now()}
    connection.execute(statement.values(study_id=study_id, **row))


# ---- sending


@dataclass(frozen=True)
class Taken:
    """A notification that the caller is to send, for as long as its lease lasts.

    Attributes:
        tries: this one included.
        targets: those that want it and do not have it yet.
        seconds: for which it is leased.
    """

    notification_id: int
    tries: int
    content: Mapping[str, Any]
    targets: tuple[Target, ...]
    seconds: float


@cache
def is_due() -> ColumnElement[bool]:
    """The condition of a notification that somebody should send now."""
    return _table.ended.is_(None) & or_(_table.lease_until.is_(None), _table.lease_until < db_now())


def take(store: Store, *, seconds: float) -> Taken | None:
    """Lease the oldest notification that is due; None while there is none.

    Those that nobody wants any more, or that were tried too often, are ended on the way.
    """
    while True:
        with store.write() as connection:
            row = connection.execute(
                select(hpo_notifications, hpo_studies.c.spec, studies.c.study_name)
                .join(studies, studies.c.study_id == _table.study_id)
                .outerjoin(hpo_studies, hpo_studies.c.study_id == _table.study_id)
                .where(is_due())
                .order_by(_table.notification_id)
                .limit(1)
                .with_for_update(of=hpo_notifications, skip_locked=True)
            ).first()
            if row is None:
                return None
            content = json.loads(row.content)
            wanted = {
                target.key: target
                for target in (*targets_in(row.spec), *load_store_targets(connection).targets)
                if target.wants(row.event, failures=content.get("failures_in_a_row"))
            }
            left = tuple(target for key, target in wanted.items() if key not in json.loads(row.delivered))
            mine = update(hpo_notifications).where(_table.notification_id == row.notification_id)
            if not left or row.tries >= MOST_TRIES:
                error = (row.error or LOST_SENDER) if left else None
                connection.execute(mine.values(ended=db_now(), lease_until=None, error=error))
                continue
            connection.execute(mine.values(lease_until=db_now() + seconds, tries=row.tries + 1))
        return Taken(row.notification_id, row.tries + 1, content, left, seconds)


def note_delivered(store: Store, taken: Taken, target: Target) -> None:
    """One of the targets has it; the lease is renewed for the next one."""
    with store.write() as connection:
        mine = _table.notification_id == taken.notification_id
        row = connection.execute(select(_table.delivered, _table.tries).where(mine).with_for_update()).first()
        if row is None:  # the study was deleted
            return
        delivered = {*json.loads(row.delivered), target.key}
        values: dict[str, Any] = {"delivered": json.dumps(sorted(delivered))}
        if row.tries == taken.tries:
            values["lease_until"] = db_now() + taken.seconds
        connection.execute(update(hpo_notifications).where(mine).values(values))


def settle(store: Store, taken: Taken, errors: Collection[str]) -> None:
    """All targets were tried: it is ended, or tried again later.

    Args:
        errors: why some do not have it, each in a line.
    """
    mine = (_table.notification_id == taken.notification_id) & (_table.tries == taken.tries)
    values: dict[str, Any] = {"lease_until": None, "error": "\n".join(errors) or None}
    if not errors or taken.tries >= MOST_TRIES:
        values["ended"] = db_now()
    else:
        values["lease_until"] = db_now() + PAUSES_SECONDS[taken.tries - 1]
    with store.write() as connection:
        connection.execute(update(hpo_notifications).where(mine).values(values))


def seconds_until_due(store: Store) -> float | None:
    """Until the next notification is due, 0 for one that is; None where none waits."""
    with store.read() as connection:
        soonest = func.min(func.coalesce(_table.lease_until, 0.0) - db_now())
        found = connection.scalar(select(soonest).where(_table.ended.is_(None)))
    return None if found is None else max(0.0, float(found))
