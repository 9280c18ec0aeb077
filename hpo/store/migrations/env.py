"""Run by alembic: applies our revisions in the transaction that `hpo.store.schema` passes."""

from __future__ import annotations

from alembic import context

from hpo.store.tables import hpo_metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=hpo_metadata,
    version_table=context.config.attributes["version_table"],
    # SQLite changes a column by copying its table
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
