"""The tables of a store: those of Optuna's that we read or write, and ours beside them.

Optuna's are repeated here, and compared with Optuna's own by a test, because importing them from Optuna takes
longer than the whole of `hpo best`. Optuna creates and migrates them. We use its enumerations as plain strings;
its dates are naive UTC. Our times are seconds since 1970 by the database's clock (`db_now`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from hpo.study.states import Direction, OptunaState, StudyState

optuna_metadata = MetaData()
hpo_metadata = MetaData()

# ------------------------------------------------------------------------------------------------ Optuna's

# on PostgreSQL these are types of the database, so their names are part of statements
_Direction = Enum("NOT_SET", *(direction.optuna for direction in Direction), name="studydirection")
_State = Enum(*(state.value for state in OptunaState), name="trialstate")
_ValueType = Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")
_IntermediateType = Enum("FINITE", "INF_POS", "INF_NEG", "NAN", name="trialintermediatevaluetype")

studies = Table(
    "studies",
    optuna_metadata,
    Column("study_id", Integer, primary_key=True),
    Column("study_name", String(512), index=True, unique=True, nullable=False),
)

study_directions = Table(
    "study_directions",
    optuna_metadata,
    Column("study_direction_id", Integer, primary_key=True),
    Column("direction", _Direction, nullable=False),
    Column("study_id", ForeignKey(studies.c.study_id), nullable=False),
    Column("objective", Integer, nullable=False),
    UniqueConstraint("study_id", "objective"),
)

study_user_attributes = Table(
    "study_user_attributes",
    optuna_metadata,
    Column("study_user_attribute_id", Integer, primary_key=True),
    Column("study_id", ForeignKey(studies.c.study_id)),
    Column("key", String(512)),
    Column("value_json", Text),
    UniqueConstraint("study_id", "key"),
)

study_system_attributes = Table(
    "study_system_attributes",
    optuna_metadata,
    Column("study_system_attribute_id", Integer, primary_key=True),
    Column("study_id", ForeignKey(studies.c.study_id)),
    Column("key", String(512)),
    Column("value_json", Text),
    UniqueConstraint("study_id", "key"),
)

trials = Table(
    "trials",
    optuna_metadata,
    Column("trial_id", Integer, primary_key=True),
    Column("number", Integer),
    Column("study_id", ForeignKey(studies.c.study_id), index=True),
    Column("state", _State, nullable=False),
    Column("datetime_start", DateTime),
    Column("datetime_complete", DateTime),
)

trial_user_attributes = Table(
    "trial_user_attributes",
    optuna_metadata,
    Column("trial_user_attribute_id", Integer, primary_key=True),
    Column("trial_id", ForeignKey(trials.c.trial_id)),
    Column("key", String(512)),
    Column("value_json", Text),
    UniqueConstraint("trial_id", "key"),
)

trial_system_attributes = Table(
    "trial_system_attributes",
    optuna_metadata,
    Column("trial_system_attribute_id", Integer, primary_key=True),
    Column("trial_id", ForeignKey(trials.c.trial_id)),
    Column("key", String(512)),
    Column("value_json", Text),
    UniqueConstraint("trial_id", "key"),
)

trial_params = Table(
    "trial_params",
    optuna_metadata,
    Column("param_id", Integer, primary_key=True),
    Column("trial_id", ForeignKey(trials.c.trial_id)),
    Column("param_name", String(512)),
    Column("param_value", Float(precision=53)),
    Column("distribution_json", Text),
    UniqueConstraint("trial_id", "param_name"),
)

# an infinite value is NULL with its type; so is NaN, which occurs in curves only
trial_values = Table(
    "trial_values",
    optuna_metadata,
    Column("trial_value_id", Integer, primary_key=True),
    Column("trial_id", ForeignKey(trials.c.trial_id), nullable=False),
    Column("objective", Integer, nullable=False),
    Column("value", Float(precision=53)),
    Column("value_type", _ValueType, nullable=False),
    UniqueConstraint("trial_id", "objective"),
)

trial_intermediate_values = Table(
    "trial_intermediate_values",
    optuna_metadata,
    Column("trial_intermediate_value_id", Integer, primary_key=True),
    Column("trial_id", ForeignKey(trials.c.trial_id), nullable=False),
    Column("step", Integer, nullable=False),
    Column("intermediate_value", Float(precision=53)),
    Column("intermediate_value_type", _IntermediateType, nullable=False),
    UniqueConstraint("trial_id", "step"),
)

# ------------------------------------------------------------------------------------------------ ours


def _trial_reference() -> ForeignKey:
    return ForeignKey(trials.c.trial_id, ondelete="CASCADE")


hpo_studies = Table(
    "hpo_studies",
    hpo_metadata,
    Column(
        "study_id",
        ForeignKey(studies.c.study_id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("spec", Text, nullable=False),  # JSON: the resolved study file
    Column("space", Text, nullable=False),  # JSON: the resolved search space
    Column("state", Text, nullable=False, server_default=StudyState.RUNNING.value),  # desired: a StudyState
    Column("state_reason", Text),
    Column("trials_target", Integer, nullable=False),
    Column("limits", Text, nullable=False, server_default="{}"),  # JSON: the limits other than trials
    Column("started", Double),  # first claim, plus the time during which the study was over
    Column("priority", Double, nullable=False, server_default="1"),
    Column("created", Double, nullable=False),
    Column("change_accepted", Double),  # when it last went on with other data or other code
    # No foreign key: a study outlives the search whose trials it trains again.
    Column("parent_id", Integer),  # study_id of that search
    Column("plan", Text),  # JSON: which of its trials, and how
)

hpo_workers = Table(
    "hpo_workers",
    hpo_metadata,
    Column("worker_id", Integer, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("started", Double, nullable=False),
    Column("beat", Double, nullable=False),
    Column("ended", Double),
    sqlite_autoincrement=True,
)

hpo_attempts = Table(
    "hpo_attempts",
    hpo_metadata,
    Column("attempt_id", Integer, primary_key=True),
    Column("trial_id", _trial_reference(), nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, ... within the trial
    Column("worker_id", ForeignKey(hpo_workers.c.worker_id), nullable=False),
    Column("slot", Integer, nullable=False),
    Column("device", Text),
    Column("devices", Integer, nullable=False, server_default="1"),  # their number: device-seconds count each
    Column("from_epoch", Integer),  # or step: it resumed from its checkpoint; 0 from scratch
    Column("started", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("ended", Double),
    Column("kind", Text),  # of the end: an AttemptEnd
    Column("cause", Text),  # of the end, in words
    Column("error", Text),  # traceback
    Column("seconds", Double),
    Column("share", Double, nullable=False, server_default="1"),  # of each of its devices
    Column("memory", BigInteger),  # bytes at its peak, of its first process
    # also the index by trial_id, which deleting a trial needs
    UniqueConstraint("trial_id", "number", name="hpo_attempts_trial_number"),
    # after a study is deleted, a reused id could let its worker renew the lease of the next study's attempt
    sqlite_autoincrement=True,
)
# the leases of ended attempts are all in the past, so an index over them would not narrow the search
_running = hpo_attempts.c.ended.is_(None)
Index("hpo_attempts_lease", hpo_attempts.c.lease_until, sqlite_where=_running, postgresql_where=_running)

hpo_epochs = Table(
    "hpo_epochs",
    hpo_metadata,
    Column("trial_id", _trial_reference(), primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),  # or step
    Column("attempt", Integer, nullable=False),  # number of the attempt that trained it
    Column("metrics", Text, nullable=False),  # JSON: all metrics by name
    Column("seconds", Double, nullable=False),
)

hpo_trials = Table(
    "hpo_trials",
    hpo_metadata,
    Column("trial_id", _trial_reference(), primary_key=True, autoincrement=False),
    Column("config", Text),  # JSON: the whole configuration, including pinned and inactive parameters
    Column("seed", BigInteger),
    Column("request", Text),  # a Request; none to train
    Column("best_epoch", Integer),
    Column("checkpoint", Text),
    Column("cause", Text),
    Column("error", Text),
    Column("seconds", Double),
    Column("checkpoint_sha256", Text),  # in hexadecimal; none for a trial of an earlier release
    Column("before_change", Text),  # the change of data or code that was accepted since, in words
    Column("provenance", Text),  # JSON: commit, versions, device and executor of its last attempt
)

# What was found out about a study after its trials, the newest last.
hpo_findings = Table(
    "hpo_findings",
    hpo_metadata,
    Column("finding_id", Integer, primary_key=True),
    Column("study_id", ForeignKey(studies.c.study_id, ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),  # final, test, explanation or replay
    Column("created", Double, nullable=False),
    Column("content", Text, nullable=False),  # JSON
    sqlite_autoincrement=True,
)

# What was told to people about a study, and what is to be: each once, by whichever worker takes it.
hpo_notifications = Table(
    "hpo_notifications",
    hpo_metadata,
    Column("notification_id", Integer, primary_key=True),
    Column("study_id", ForeignKey(studies.c.study_id, ondelete="CASCADE"), nullable=False),
    Column("event", Text, nullable=False),  # finished, new best, ...
    Column("occasion", Text, nullable=False),  # what makes it one event of its kind: a trial's number, a share
    Column("content", Text, nullable=False),  # JSON
    Column("created", Double, nullable=False),
    Column("lease_until", Double),  # of the worker that is sending it
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("delivered", Text, nullable=False, server_default="[]"),  # JSON: the targets that have it
    Column("ended", Double),  # all targets have it, or it was given up
    Column("error", Text),
    UniqueConstraint("study_id", "event", "occasion", name="hpo_notifications_once"),
    sqlite_autoincrement=True,
)

# every worker's poll asks for those that wait, of which there are few
_waits = hpo_notifications.c.ended.is_(None)
Index("hpo_notifications_waiting", hpo_notifications.c.lease_until, sqlite_where=_waits, postgresql_where=_waits)

# What holds for a whole store: JSON by key.
hpo_settings = Table(
    "hpo_settings",
    hpo_metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Who may use the server.
hpo_users = Table(
    "hpo_users",
    hpo_metadata,
    Column("user_id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),  # argon2id
    Column("role", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),  # password or role: sessions from before are over
    sqlite_autoincrement=True,
)

hpo_tokens = Table(
    "hpo_tokens",
    hpo_metadata,
    Column("token_id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("study_names", Text),  # JSON: the only ones that it is for; none for all
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
    Column("used", Double),
    sqlite_autoincrement=True,
)

# Writes through the server: who did what, and when. A study's name, since the trail outlives it.
hpo_audit = Table(
    "hpo_audit",
    hpo_metadata,
    Column("audit_id", Integer, primary_key=True),
    Column("moment", Double, nullable=False, index=True),
    Column("caller", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("study", Text),
    Column("detail", Text),  # JSON
    sqlite_autoincrement=True,
)

# Optuna and its dashboard open SQLite without foreign keys, and SQLite gives a deleted study's id to the next
# one: without these triggers, a deleted study's rows would belong to the next study
SQLITE_TRIGGERS = (
    """
    CREATE TRIGGER IF NOT EXISTS hpo_study_deleted AFTER DELETE ON studies BEGIN
        DELETE FROM hpo_studies WHERE study_id = OLD.study_id;
        DELETE FROM hpo_findings WHERE study_id = OLD.study_id;
        DELETE FROM hpo_notifications WHERE study_id = OLD.study_id;
        UPDATE hpo_studies SET parent_id = NULL WHERE parent_id = OLD.study_id;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS hpo_trial_deleted AFTER DELETE ON trials BEGIN
        DELETE FROM hpo_attempts WHERE trial_id = OLD.trial_id;
        DELETE FROM hpo_epochs WHERE trial_id = OLD.trial_id;
        DELETE FROM hpo_trials WHERE trial_id = OLD.trial_id;
    END
    """,
)
