"""The audit trail: what callers changed through the server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from hpo.errors import HpoError
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_audit
from hpo.web.callers import Caller


@dataclass(frozen=True)
class Entry:
    """One write.

    Attributes:
        moment: seconds since 1970 by the store's clock.
    """

    moment: float
    caller: str
    action: str
    study: str | None
    detail: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@contextmanager
def audited(
    store: Store, caller: Caller, action: str, *, study: str | None = None, **detail: Any
) -> Iterator[dict[str, Any]]:
    """Write into the audit trail what a caller changes, before it is changed: a server that is killed loses no entry.

    What is refused is taken back: an HpoError, or another request's answer, leaves no entry. Yields the detail, to
    which the outcome may be added.

    Args:
        action: a verb, such as `pause`.
        detail: what else belongs to it, in JSON's values; never a secret.
    """
    entry = enter(store, caller, action, study=study, detail=detail)
    known = dict(detail)
    try:
        yield detail
    except (HpoError, HTTPException, IntegrityError):
        withdraw(store, entry)
        raise
    if detail != known:
        with store.write() as connection:
            connection.execute(update(hpo_audit).where(hpo_audit.c.audit_id == entry).values(detail=json.dumps(detail)))


def enter(
    store: Store, caller: Caller, action: str, *, study: str | None = None, detail: Mapping[str, Any] | None = None
) -> int:
    """Write an entry; its number."""
    row = insert(hpo_audit).values(
        moment=db_now(),
        caller=caller.name,
        action=action,
        study=study,
        detail=json.dumps(detail) if detail else None,
    )
    with store.write() as connection:
        return int(connection.execute(row).inserted_primary_key[0])  # type: ignore[index]


def withdraw(store: Store, entry: int) -> None:
    """Take back an entry, since nothing was changed."""
    with store.write() as connection:
        connection.execute(delete(hpo_audit).where(hpo_audit.c.audit_id == entry))


def trail(store: Store, *, study: str | None = None) -> Iterator[Entry]:
    """The entries, the oldest first.

    Args:
        study: only those of the study that had this name at the time.
    """
    wanted = select(hpo_audit).order_by(hpo_audit.c.audit_id)
    if study is not None:
        wanted = wanted.where(hpo_audit.c.study == study)
    with store.read() as connection:
        for row in connection.execute(wanted):
            yield Entry(row.moment, row.caller, row.action, row.study, json.loads(row.detail or "{}"))
