"""The tables with rows of a study, found by what refers to studies and trials: a later table is not forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Connection, MetaData, Table
from sqlalchemy import inspect as inspected

from hpo.queue.delete import references
from hpo.store.tables import hpo_metadata, hpo_studies, hpo_workers, optuna_metadata, studies, trials

# Their rows have numbers in an archive, from 0 on, by which other rows refer to them; in this order they are read.
NUMBERED = {studies.name: "study_id", hpo_workers.name: "worker_id", trials.name: "trial_id"}
# Besides foreign keys: a study outlives the search whose trials it trains again, so there is none.
_OTHER_REFERENCES = {hpo_studies.name: {"parent_id": studies.name}}


@dataclass(frozen=True)
class ArchivedTable:
    """A table with rows of studies.

    Attributes:
        references: by column, the numbered table that it refers to.
        own_number: the column that the database numbers, and nothing refers to; it is in no archive.
    """

    table: Table
    references: Mapping[str, str]
    own_number: str | None

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def columns(self) -> list[Column[object]]:
        """Those that an archive has."""
        return [column for column in self.table.columns if column.name != self.own_number]

    @property
    def owner(self) -> str:
        """The column that says whose its rows are: of a trial, or of a study."""
        owners = {refers_to: name for name, refers_to in self.references.items() if name != "parent_id"}
        return owners.get(trials.name) or owners[studies.name]


def archived_tables(connection: Connection) -> dict[str, ArchivedTable]:
    """The tables with rows of studies by name, each after those that it refers to."""
    found = references(connection)
    columns: dict[str, dict[str, str]] = {name: {} for name in NUMBERED}
    for refers_to in NUMBERED:
        for name, column in found[refers_to]:
            columns.setdefault(name, {})[column] = refers_to
    for name, more in _OTHER_REFERENCES.items():
        columns[name] |= more
    others = sorted(set(columns) - set(NUMBERED))
    return {name: _archived(connection, name, columns[name]) for name in (*NUMBERED, *others)}


def _archived(connection: Connection, name: str, refers: Mapping[str, str]) -> ArchivedTable:
    known = {**optuna_metadata.tables, **hpo_metadata.tables}
    table = known[name] if name in known else Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
    keys = inspected(connection).get_pk_constraint(name)["constrained_columns"]
    is_own = len(keys) == 1 and name not in NUMBERED and keys[0] not in refers
    return ArchivedTable(table, refers, keys[0] if is_own else None)
