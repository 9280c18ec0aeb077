"""Adds the share that an attempt has of its devices, and its memory."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("hpo_attempts", Column("share", Double, nullable=False, server_default="1"))
    op.add_column("hpo_attempts", Column("memory", BigInteger))
