"""Adds the hashes of checkpoints."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Not in alembic's batch mode: that would copy the table.
    op.execute("ALTER TABLE hpo_trials ADD COLUMN checkpoint_sha256 TEXT")
