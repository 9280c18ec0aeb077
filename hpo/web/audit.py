"""The audit trail: what callers changed through the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import insert, select

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


def record(store: Store, caller: Caller, action: str, *, study: str | None = None, **detail: Any) -> None:
    """Write into the audit trail what a caller did.

    Args:
        action: a verb, such as `pause`.
        detail: what else belongs to it, in JSON's values; never a secret.
    """
    row = insert(hpo_audit).values(
        moment=db_now(),
        caller=caller.name,
        action=action,
        study=study,
        detail=json.dumps(detail) if detail else None,
    )
    with store.write() as connection:
        connection.execute(row)


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
