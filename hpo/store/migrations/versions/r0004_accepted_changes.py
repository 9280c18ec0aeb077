"""Adds the time at which a change of data or code was accepted, and the trials from before it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Not in alembic's batch mode: that would copy the tables.
    op.add_column("hpo_studies", Column("change_accepted", Double))
    op.add_column("hpo_trials", Column("before_change", Text))
