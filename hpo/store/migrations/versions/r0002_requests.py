"""Renames the stored requests, and drops columns that nothing reads."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Not in alembic's batch mode: that would copy the table, and lose AUTOINCREMENT and the index's condition.
    op.execute("ALTER TABLE hpo_trials RENAME COLUMN wish TO request")
    op.execute("UPDATE hpo_trials SET request = 'await promotion' WHERE request = 'held'")
    op.execute("UPDATE hpo_attempts SET kind = 'at rung', cause = 'paused at a rung' WHERE kind = 'held'")
    op.execute("ALTER TABLE hpo_attempts DROP COLUMN checkpoint")
    op.execute("ALTER TABLE hpo_studies DROP COLUMN signature")
