"""Our tables, empty and temporary, for looking at a store that only Optuna's own programs have used."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Engine, MetaData, Table, event
from sqlalchemy.schema import CreateTable

from hpo.store.tables import hpo_metadata


def use_empty_tables(engine: Engine) -> None:
    """Give every connection of the engine empty tables of its own; the store itself is not changed."""
    statements = [
        str(CreateTable(_temporary(table)).compile(dialect=engine.dialect)) for table in hpo_metadata.sorted_tables
    ]

    def create(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", create)
    engine.dispose()  # connections from before do not have them


def _temporary(table: Table) -> Table:
    """The table without constraints, which could not refer to tables that stay."""
    columns = [Column(column.name, column.type) for column in table.columns]
    return Table(table.name, MetaData(), *columns, prefixes=["TEMPORARY"])
