"""Adds what a search ends in: studies that train its best trials again, findings, and what trials were trained with."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, ForeignKey, Integer, Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":  # it is made anew after the migrations, with findings in it
        op.execute("DROP TRIGGER IF EXISTS hpo_study_deleted")
    # Not in alembic's batch mode: that would copy the tables.
    op.add_column("hpo_studies", Column("parent_id", Integer))
    op.add_column("hpo_studies", Column("plan", Text))
    op.add_column("hpo_trials", Column("provenance", Text))
    op.create_table(
        "hpo_findings",
        Column("finding_id", Integer, primary_key=True),
        Column("study_id", Integer, ForeignKey("studies.study_id", ondelete="CASCADE"), nullable=False, index=True),
        Column("kind", Text, nullable=False),
        Column("created", Double, nullable=False),
        Column("content", Text, nullable=False),
        sqlite_autoincrement=True,
    )
