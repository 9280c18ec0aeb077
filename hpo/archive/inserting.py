"""The rows of an archive enter a store in one transaction, with the numbers that this store gives them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Boolean, Column, Connection, DateTime, Enum, Float, Integer, String, insert, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from hpo.archive.reading import Archive
from hpo.archive.rows import Row
from hpo.archive.tables import NUMBERED, ArchivedTable, archived_tables
from hpo.errors import StoreError
from hpo.printable import in_a_line
from hpo.queue.rename import renamed
from hpo.store.tables import hpo_findings, hpo_studies, hpo_trials, studies

_BATCH = 2_000  # rows a statement


@dataclass(frozen=True)
class Placement:
    """What the studies of an archive are in the store.

    Attributes:
        names: new ones by those in the archive.
        created: seconds since 1970, by the studies' numbers in the archive; none of studies of other programs.
        checkpoints: paths by names in the archive.
    """

    names: Mapping[str, str]
    created: Mapping[int, float]
    checkpoints: Mapping[str, str]


@dataclass
class _Insertion:
    archive: Archive
    placement: Placement
    connection: Connection
    _numbers: dict[str, dict[int, int]] = field(default_factory=dict)

    def insert(self, archived: ArchivedTable) -> int:
        """Insert a table's rows; how many there are."""
        count, numbered = 0, NUMBERED.get(archived.name)
        numbers = self._numbers.setdefault(archived.name, {})
        for batch in _batches(self._rows(archived)):
            count += len(batch)
            if numbered is None:
                _insert(self.connection, archived, batch)
                continue
            olds = [row.pop(numbered) for row in batch]
            column = archived.table.c[numbered]
            news = self.connection.scalars(
                insert(archived.table).returning(column, sort_by_parameter_order=True), batch
            ).all()
            numbers.update(zip(olds, news, strict=True))
            if len(numbers) != count:
                raise StoreError(f"{self.archive.path}: tables/{archived.name}.jsonl has two rows of one number")
        return count

    def _rows(self, archived: ArchivedTable) -> Iterator[Row]:
        columns = {column.name: column for column in archived.columns}
        for line, row in self.archive.rows(archived.name):
            where = f"{self.archive.path}: tables/{archived.name}.jsonl, line {line}"
            if row.keys() != columns.keys():
                strange = sorted(row.keys() ^ columns.keys())[0]
                raise StoreError(f"{where}: '{in_a_line(strange)}' is missing, or is no column of that table")
            checked = {name: _checked(columns[name], value, f"{where}: {name}") for name, value in row.items()}
            for name, refers_to in archived.references.items():
                if checked[name] is not None:
                    checked[name] = self._number(refers_to, checked[name], f"{where}: {name}")
            yield self._placed(archived.name, row, checked, where)

    def _number(self, refers_to: str, number: int, where: str) -> int:
        found = self._numbers.get(refers_to, {}).get(number)
        if found is None:
            raise StoreError(f"{where}: tables/{refers_to}.jsonl has no row {number}")
        return found

    def _placed(self, table: str, before: Row, row: Row, where: str) -> Row:
        """With the names, the times and the paths that the studies have in this store."""
        placement = self.placement
        if table == studies.name:
            row["study_name"] = placement.names[row["study_name"]]
        elif table == hpo_studies.name:
            row["created"] = placement.created[before["study_id"]]
            row["spec"] = _with_name(row["spec"], placement.names, where)
        elif table == hpo_findings.name and any(new != old for old, new in placement.names.items()):
            row["content"] = json.dumps(renamed(_parsed(row["content"], where), placement.names))
        elif table == hpo_trials.name and row["checkpoint"] is not None:
            if row["checkpoint"] not in placement.checkpoints:
                raise StoreError(f"{where}: the checkpoint {in_a_line(row['checkpoint'])} is not in the archive")
            row["checkpoint"] = placement.checkpoints[row["checkpoint"]]
        return row


def insert_rows(connection: Connection, archive: Archive, placement: Placement) -> None:
    """Insert all rows of an archive.

    Raises:
        StoreError: the store has a study of such a name, or rows do not fit its tables.
    """
    tables = archived_tables(connection)
    for file in archive.tables:
        if file.name.removeprefix("tables/").removesuffix(".jsonl") not in tables:
            raise StoreError(f"{archive.path}: {file.name} is of a table that this store does not have")
    refuse_taken(connection, placement.names.values())
    insertion = _Insertion(archive, placement, connection)
    try:
        for name, archived in tables.items():
            count = insertion.insert(archived)
            if count != archive.manifest.rows.get(name, 0):
                raise StoreError(f"{archive.path}: tables/{name}.jsonl has another number of rows than it should")
    except (IntegrityError, DataError, OverflowError, UnicodeError) as error:
        reason = in_a_line(str(getattr(error, "orig", None) or error))
        raise StoreError(f"{archive.path}: tables/{name}.jsonl does not fit the store's tables: {reason}") from error


def refuse_taken(connection: Connection, names: Iterable[str]) -> None:
    """Refuse names that the store has.

    Raises:
        StoreError: it has one.
    """
    wanted = studies.c.study_name.in_(list(names))
    taken = connection.scalars(select(studies.c.study_name).where(wanted).order_by(studies.c.study_id)).first()
    if taken is not None:
        raise StoreError(f"the store has a study '{taken}' already: import this one under another name with --name NEW")


def _insert(connection: Connection, archived: ArchivedTable, rows: list[Row]) -> None:
    if connection.dialect.name != "postgresql":
        connection.execute(insert(archived.table), rows)
        return
    # PostgreSQL's COPY, which takes a quarter of the time of statements with these rows
    quote, dbapi = connection.dialect.identifier_preparer.quote, connection.dialect.loaded_dbapi
    names = [column.name for column in archived.columns]
    statement = f"COPY {quote(archived.name)} ({', '.join(map(quote, names))}) FROM STDIN"
    cursor: Any = connection.connection.cursor()  # psycopg's, which SQLAlchemy does not know as such
    try:
        with cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([row[name] for name in names])
    except dbapi.Error as error:
        raise DBAPIError.instance(statement, None, error, dbapi.Error, hide_parameters=True) from error


def _checked(column: Column[Any], value: Any, where: str) -> Any:
    """A value of JSON as the column's; the database would take others, SQLite without a word."""
    kind = column.type
    if value is None:
        if column.nullable:
            return None
    elif isinstance(kind, Enum):
        if value in kind.enums:
            return value
    elif isinstance(kind, DateTime):
        if isinstance(value, str) and (found := _moment(value)) is not None:
            return found
    elif isinstance(kind, String):
        if isinstance(value, str):
            return value
    elif isinstance(kind, Boolean):
        if isinstance(value, bool):
            return value
    elif not isinstance(value, bool):
        if isinstance(kind, Integer) and isinstance(value, int) and abs(value) < 2**63:
            return value
        if isinstance(kind, Float) and isinstance(value, int | float):
            return float(value)
    raise StoreError(f"{where}: {in_a_line(str(value))[:40]} is no value of that column")


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is None else None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise StoreError(f"{where}: it holds no JSON") from None


def _with_name(text: str, names: Mapping[str, str], where: str) -> str:
    """A resolved study file with the study's name in this store."""
    plain = _parsed(text, where)
    try:
        if (name := plain["spec"]["study"]) == names[name]:
            return text
        plain["spec"]["study"] = names[name]
    except (LookupError, TypeError):
        raise StoreError(f"{where}: it holds no study file of one of the archive's studies") from None
    return json.dumps(plain)
