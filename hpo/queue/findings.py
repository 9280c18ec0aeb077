"""What was found out about a study after its trials: each finding is kept, the newest last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from hpo.store.clock import db_now
from hpo.store.tables import hpo_findings
from hpo.study.earlier import Earlier

EARLIER = "earlier"


@dataclass(frozen=True)
class Finding:
    """One finding about a study.

    Attributes:
        kind: final, test, explanation, replay, or earlier: what the study started from.
        created: UTC, by the database's clock.
        content: plain values, as they were given to `add_finding`.
    """

    finding_id: int
    kind: str
    created: datetime
    content: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        created = self.created.isoformat(timespec="milliseconds")
        return {"kind": self.kind, "created": created, "content": dict(self.content)}


def add_finding(connection: Connection, study_id: int, kind: str, content: Mapping[str, Any]) -> int:
    """Keep a finding, within a transaction of the caller; its id.

    Args:
        content: what JSON can hold: numbers that are not finite are no JSON.

    Raises:
        ValueError: it holds such a number.
        IntegrityError: there is no such study.
    """
    text = json.dumps(content, allow_nan=False)
    inserted = connection.execute(
        insert(hpo_findings).values(study_id=study_id, kind=kind, created=db_now(), content=text)
    )
    return int(inserted.inserted_primary_key[0])  # type: ignore[index]


def earlier_of(connection: Connection, study_id: int) -> Earlier | None:
    """What the studies that this one started from know; None where it started from none."""
    found = findings_of(connection, study_id, EARLIER)
    return Earlier.from_json(found[-1].content) if found else None


def findings_of(connection: Connection, study_id: int, kind: str | None = None) -> list[Finding]:
    """The findings about a study, the newest last.

    Args:
        kind: only those of this kind.
    """
    wanted = hpo_findings.c.study_id == study_id
    if kind is not None:
        wanted = wanted & (hpo_findings.c.kind == kind)
    rows = connection.execute(select(hpo_findings).where(wanted).order_by(hpo_findings.c.finding_id))
    return [
        Finding(row.finding_id, row.kind, datetime.fromtimestamp(row.created, UTC), json.loads(row.content))
        for row in rows
    ]
