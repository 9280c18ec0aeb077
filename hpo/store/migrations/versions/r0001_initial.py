"""Studies, workers, attempts, epochs and trials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "hpo_studies",
        sa.Column("study_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("state_reason", sa.Text()),
        sa.Column("trials_target", sa.Integer(), nullable=False),
        sa.Column("limits", sa.Text(), server_default="{}", nullable=False),
        sa.Column("started", sa.Double()),
        sa.Column("priority", sa.Double(), server_default="1", nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id"),
    )
    op.create_table(
        "hpo_workers",
        sa.Column("worker_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("beat", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.PrimaryKeyConstraint("worker_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "hpo_attempts",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text()),
        sa.Column("devices", sa.Integer(), server_default="1", nullable=False),
        sa.Column("from_epoch", sa.Integer()),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.Column("kind", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("seconds", sa.Double()),
        sa.Column("checkpoint", sa.Text()),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["worker_id"], ["hpo_workers.worker_id"]),
        sa.PrimaryKeyConstraint("attempt_id"),
        sa.UniqueConstraint("trial_id", "number", name="hpo_attempts_trial_number"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "hpo_attempts_lease",
        "hpo_attempts",
        ["lease_until"],
        sqlite_where=sa.text("ended IS NULL"),
        postgresql_where=sa.text("ended IS NULL"),
    )
    op.create_table(
        "hpo_epochs",
        sa.Column("trial_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("epoch", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trial_id", "epoch"),
    )
    op.create_table(
        "hpo_trials",
        sa.Column("trial_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("config", sa.Text()),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("wish", sa.Text()),
        sa.Column("best_epoch", sa.Integer()),
        sa.Column("checkpoint", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("seconds", sa.Double()),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trial_id"),
    )
