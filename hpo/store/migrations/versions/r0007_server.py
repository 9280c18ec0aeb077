"""Adds what the server and notifications keep: users, tokens, the audit trail, settings, and what was told."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, ForeignKey, Integer, Text, UniqueConstraint, text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":  # it is made anew after the migrations, with notifications in it
        op.execute("DROP TRIGGER IF EXISTS hpo_study_deleted")
    op.create_table(
        "hpo_notifications",
        Column("notification_id", Integer, primary_key=True),
        Column("study_id", Integer, ForeignKey("studies.study_id", ondelete="CASCADE"), nullable=False),
        Column("event", Text, nullable=False),
        Column("occasion", Text, nullable=False),
        Column("content", Text, nullable=False),
        Column("created", Double, nullable=False),
        Column("lease_until", Double),
        Column("tries", Integer, nullable=False, server_default="0"),
        Column("delivered", Text, nullable=False, server_default="[]"),
        Column("ended", Double),
        Column("error", Text),
        UniqueConstraint("study_id", "event", "occasion", name="hpo_notifications_once"),
        sqlite_autoincrement=True,
    )
    waits = text("ended IS NULL")
    op.create_index(
        "hpo_notifications_waiting", "hpo_notifications", ["lease_until"], sqlite_where=waits, postgresql_where=waits
    )
    op.create_table(
        "hpo_settings",
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
    )
    op.create_table(
        "hpo_users",
        Column("user_id", Integer, primary_key=True),
        Column("name", Text, nullable=False, unique=True),
        Column("password_hash", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("created", Double, nullable=False),
        Column("changed", Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "hpo_tokens",
        Column("token_id", Integer, primary_key=True),
        Column("name", Text, nullable=False),
        Column("sha256", Text, nullable=False, unique=True),
        Column("role", Text, nullable=False),
        Column("study_names", Text),
        Column("created", Double, nullable=False),
        Column("expires", Double),
        Column("revoked", Double),
        Column("used", Double),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "hpo_audit",
        Column("audit_id", Integer, primary_key=True),
        Column("moment", Double, nullable=False, index=True),
        Column("caller", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("study", Text),
        Column("detail", Text),
        sqlite_autoincrement=True,
    )
