"""The rows of a study, read for an archive in one transaction: plain values, with numbers that every store gives alike.

Equal studies have equal rows, whatever the numbers in their stores: studies, workers and trials are numbered from 0,
and the numbers that nothing refers to are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from hpo.archive.tables import NUMBERED, ArchivedTable, archived_tables
from hpo.queue.plans import plans_of
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_workers, studies, trials
from hpo.study.states import AttemptEnd

ARCHIVED = f"{AttemptEnd.PREEMPTED}: the study was archived while it trained"

Row = dict[str, Any]


@dataclass
class StudyRows:
    """A study, with the studies that train its trials again, in a transaction that sees one snapshot.

    Attributes:
        names: of the studies by their numbers in the store, the study itself first.
    """

    connection: Connection
    names: Mapping[int, str]
    tables: Mapping[str, ArchivedTable]
    _now: float
    _numbers: dict[str, dict[int, int]] = field(default_factory=dict)

    @staticmethod
    def of(connection: Connection, study_id: int, name: str) -> StudyRows:
        names = names_of(connection, study_id, name)
        now = float(connection.scalar(select(db_now())) or 0.0)
        return StudyRows(connection, names, archived_tables(connection), now)

    def of_table(self, name: str) -> Iterator[Row]:
        """The rows of a table; those of the numbered ones are to be read first, in their order."""
        for found in self._found(self.tables[name]):
            row = {column.name: _plain(found[column.name]) for column in self.tables[name].columns}
            for column, refers_to in self.tables[name].references.items():
                row[column] = self.number(refers_to, row[column])
            if name in NUMBERED:
                numbers = self._numbers.setdefault(name, {})
                row[NUMBERED[name]] = numbers.setdefault(row[NUMBERED[name]], len(numbers))
            yield self._at_rest(name, row)

    def number(self, refers_to: str, number: int | None) -> int | None:
        """In the archive; None for what is not in it: the search whose trials the study trains again."""
        return None if number is None else self._numbers[refers_to].get(number)

    def _found(self, archived: ArchivedTable) -> Iterator[RowMapping]:
        """In an order that does not depend on the numbers in this store, nor on when another study got its rows."""
        table = archived.table
        by = list(table.primary_key.columns)
        for study_id in self.names:
            if table.name == studies.name:
                query = select(table).where(table.c.study_id == study_id)
            elif table.name == hpo_workers.name:
                continue
            elif archived.owner == "study_id":
                query = select(table).where(table.c.study_id == study_id).order_by(*by)
            else:
                mine = select(trials.c.trial_id).where(trials.c.study_id == study_id)
                owner = table.c[archived.owner]
                query = select(table).where(owner.in_(mine)).order_by(owner, *by)
            yield from self.connection.execute(query.execution_options(yield_per=5_000)).mappings()
        if table.name == hpo_workers.name:
            mine = (
                select(hpo_attempts.c.worker_id)
                .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
                .where(trials.c.study_id.in_(self.names))
            )
            yield from self.connection.execute(
                select(table).where(table.c.worker_id.in_(mine)).order_by(*by)
            ).mappings()

    def _at_rest(self, table: str, row: Row) -> Row:
        """Without what works at this moment: its worker is not where the archive is read, and cannot end it there."""
        if table == hpo_workers.name and row["ended"] is None:
            row["ended"] = row["beat"]
        if table == hpo_attempts.name and row["ended"] is None:
            seconds = max(0.0, self._now - row["started"])
            row |= {"ended": self._now, "lease_until": min(self._now, row["lease_until"]), "seconds": seconds}
            row |= {"kind": AttemptEnd.PREEMPTED.value, "cause": ARCHIVED}
        return row


def names_of(connection: Connection, study_id: int, name: str) -> dict[int, str]:
    """By their numbers in the store, the study and those that train its trials again, and again theirs."""
    found = {study_id: name}
    waiting: Sequence[int] = [study_id]
    while waiting:
        more = {child: its for parent in waiting for child, its, _ in plans_of(connection, parent)}
        waiting = [child for child in more if child not in found]
        found |= more
    return found


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
