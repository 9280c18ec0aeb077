"""The store's schema: its recorded revisions, and whether its tables have the columns of these."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import inspect

from hpo.doctor.finding import CheckContext, Finding, listed
from hpo.errors import StoreError
from hpo.store.schema import check_schema, versions_of
from hpo.store.tables import hpo_metadata, optuna_metadata


def check_versions(context: CheckContext) -> Iterator[Finding]:
    """The revisions of Optuna's tables and of ours."""
    try:
        check_schema(context.store.engine)
    except StoreError as error:
        yield Finding("problem", "schema", str(error))
        return
    versions = versions_of(context.store.engine, context.store.url)
    yield Finding("ok", "schema", f"ours {versions.ours}, Optuna's {versions.optuna}")


def check_tables(context: CheckContext) -> Iterator[Finding]:
    """Tables and columns that the revision should have."""
    with context.store.read() as connection:
        there = {
            name: {column["name"] for column in columns}
            for (_, name), columns in inspect(connection).get_multi_columns().items()
        }
    expected = {**optuna_metadata.tables, **hpo_metadata.tables}
    missing = [name for name in expected if name not in there]
    for name, table in expected.items():
        if name in there:
            missing += [f"{name}.{column.name}" for column in table.columns if column.name not in there[name]]
    if missing:
        yield Finding(
            "problem",
            "schema",
            f"{listed(missing)} is missing, although the store's schema revision includes it",
            remedy="restore a backup (hpo db restore FILE --force), or begin a new store",
        )
