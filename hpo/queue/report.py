"""A worker's reports about its trial, from its parameters to its end: each within a transaction of the caller.

Each function returns whether the lease is still ours. When it is not, another worker has the trial, and nothing was
written.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hpo.queue.best import LOSS
from hpo.queue.claim import Claim
from hpo.queue.idle import attempts_ended, end_idle_trials, end_trial
from hpo.store.clock import db_now
from hpo.store.json_number import json_number
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_trials,
    trial_intermediate_values,
    trial_params,
    trial_system_attributes,
    trial_user_attributes,
)
from hpo.study.states import AttemptEnd, OptunaState, Request

SAMPLES_PER_SECOND = "samples_per_second"  # an attribute of a trial

# The end of a traceback matters most, and a very long error would slow down every read of the study.
MAX_ERROR_CHARACTERS = 20_000
TRAININGS = "hpo:trainings"  # the key of an attribute


def begin_trial(
    connection: Connection,
    claim: Claim,
    *,
    params: Mapping[str, tuple[float, str]],
    config: Mapping[str, Any],
    seed: int | None = None,
    system_attributes: Mapping[str, Any] | None = None,
) -> bool:
    """Store the trial's parameters and configuration, before it trains.

    Args:
        params: by name, the value and the distribution as Optuna stores them.
        config: the whole configuration, pinned and inactive parameters too; at least `params`, by name.
        system_attributes: the sampler's notes on its proposal.
    """
    row = {"config": json.dumps(config), "seed": seed}
    if upsert(connection, hpo_trials, {"trial_id": claim.trial_id}, row, while_leased=claim) == 0:
        return False
    if params:
        rows = [
            {"trial_id": claim.trial_id, "param_name": name, "param_value": value, "distribution_json": distribution}
            for name, (value, distribution) in params.items()
        ]
        # A worker that lost this trial's lease may have written its own parameters at the last moment.
        key, values = ("trial_id", "param_name"), ("param_value", "distribution_json")
        connection.execute(_upsert(connection.dialect.name, trial_params, key, values), rows)
    _put_attributes(connection, claim, system_attributes or {})
    return True


def describe_trial(
    connection: Connection, claim: Claim, *, config: Mapping[str, Any], from_epoch: int, provenance: str | None = None
) -> bool:
    """Complete the configuration with what the trial process reported when it had built the model.

    Args:
        from_epoch: the epoch whose checkpoint the attempt resumes from; 0 from scratch.
        provenance: of the attempt, as JSON.
    """
    changed = connection.execute(update(hpo_attempts).where(_is_leased(claim)).values(from_epoch=from_epoch))
    if changed.rowcount == 0:
        return False
    connection.execute(
        update(hpo_trials)
        .where(hpo_trials.c.trial_id == claim.trial_id)
        .values(
            config=json.dumps(config),
            provenance=provenance,
            checkpoint=None,  # while it trains, the file is replaced
            checkpoint_sha256=None,
        )
    )
    return True


def provenance_before(connection: Connection, claim: Claim) -> str | None:
    """The provenance of the trial's attempts before this one, as JSON; None where none has built its model."""
    found: str | None = connection.scalar(
        select(hpo_trials.c.provenance).where(hpo_trials.c.trial_id == claim.trial_id)
    )
    return found


def report_epoch(
    connection: Connection,
    claim: Claim,
    *,
    epoch: int,
    value: float | None,
    metrics: Mapping[str, float],
    seconds: float,
    system_attributes: Mapping[str, Any],
    attributes: Mapping[str, Any] | None = None,
) -> bool:
    """Store an epoch's metrics.

    Args:
        epoch: 1 for the first.
        value: the objective after it, finite; None when it was not logged.
        seconds: since the attempt began to train.
        system_attributes: the pruner's notes on its decision.
        attributes: shown in optuna-dashboard beside the trial.
    """
    row = {"attempt": claim.attempt, "metrics": json.dumps(dict(metrics)), "seconds": seconds}
    if upsert(connection, hpo_epochs, {"trial_id": claim.trial_id, "epoch": epoch}, row, while_leased=claim) == 0:
        return False
    if value is not None:
        upsert(
            connection,
            trial_intermediate_values,
            {"trial_id": claim.trial_id, "step": epoch},
            {"intermediate_value": value, "intermediate_value_type": "FINITE"},
        )
    _put_attributes(connection, claim, system_attributes)
    _put_attributes(connection, claim, attributes or {}, trial_user_attributes)
    return True


def report_trainings(connection: Connection, claim: Claim, results: Sequence[float]) -> bool:
    """Store what each of the trial's trainings so far has reached, on folds or with seeds."""
    key = {"trial_id": claim.trial_id, "key": TRAININGS}
    values = {"value_json": json.dumps(list(results))}
    return upsert(connection, trial_system_attributes, key, values, while_leased=claim) != 0


def trainings_before(connection: Connection, trial_id: int) -> list[float]:
    """What each of the trial's trainings that have ended has reached."""
    attributes = trial_system_attributes.c
    found = connection.scalar(
        select(attributes.value_json).where(attributes.trial_id == trial_id, attributes.key == TRAININGS)
    )
    return [] if found is None else [float(value) for value in json.loads(found)]


def losses_before(connection: Connection, trial_id: int) -> dict[int, float]:
    """The validation loss after each epoch of the trial's earlier attempts, where it was logged."""
    loss = json_number(hpo_epochs.c.metrics, LOSS)
    rows = connection.execute(
        select(hpo_epochs.c.epoch, loss.label("loss")).where(hpo_epochs.c.trial_id == trial_id, loss.is_not(None))
    )
    return {row.epoch: float(row.loss) for row in rows}


def _put_attributes(
    connection: Connection, claim: Claim, attributes: Mapping[str, Any], table: Table = trial_system_attributes
) -> None:
    rows = [
        {"trial_id": claim.trial_id, "key": key, "value_json": json.dumps(item)} for key, item in attributes.items()
    ]
    if rows:
        connection.execute(_upsert(connection.dialect.name, table, ("trial_id", "key"), ("value_json",)), rows)


def finish_trial(
    connection: Connection,
    claim: Claim,
    *,
    state: OptunaState,
    values: Sequence[float] = (),
    seconds: float,
    share: float | None = None,
    memory: int | None = None,
    end: AttemptEnd = AttemptEnd.DONE,
    cause: str | None = None,
    error: str | None = None,
    best_epoch: int | None = None,
    checkpoint: str | None = None,
    checkpoint_sha256: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    system_attributes: Mapping[str, Any] | None = None,
) -> bool:
    """End the trial.

    Args:
        state: complete, pruned or failed.
        values: of each objective, finite; none for a failed trial.
        seconds: the duration of this attempt.
        share: of its devices, on average; by default as it was claimed.
        memory: bytes at its peak.
        checkpoint_sha256: of the checkpoint's file, in hexadecimal.
        attributes: shown in optuna-dashboard beside the trial.
        system_attributes: the constraints that it violates.
    """
    cause, error = shortened(cause), shortened(error)
    words = {"cause": cause or state.lower(), "error": error}
    if not _end_attempt(connection, claim, end=end, seconds=seconds, share=share, memory=memory, **words):
        return False
    columns = {"best_epoch": best_epoch, "error": error}
    columns |= {"checkpoint": checkpoint, "checkpoint_sha256": checkpoint_sha256}
    end_trial(connection, claim.trial_id, state, cause=cause, values=values, **columns)
    _put_attributes(connection, claim, attributes or {}, trial_user_attributes)
    _put_attributes(connection, claim, system_attributes or {})
    return True


def end_attempt(
    connection: Connection,
    claim: Claim,
    *,
    end: AttemptEnd,
    cause: str,
    error: str | None = None,
    seconds: float,
    share: float | None = None,
    memory: int | None = None,
    checkpoint: str | None = None,
    checkpoint_sha256: str | None = None,
) -> bool:
    """End the attempt, not the trial: a later claim continues the trial, unless its end was requested meanwhile.

    Args:
        share: of its devices, on average; by default as it was claimed.
        memory: bytes at its peak.
        checkpoint: the file with the weights of the trial's best epoch so far.
        checkpoint_sha256: of that file, in hexadecimal.
    """
    words = {"cause": cause, "error": error}
    is_ours = _end_attempt(connection, claim, end=end, seconds=seconds, share=share, memory=memory, **words)
    if is_ours:
        if checkpoint is not None:
            of_trial = hpo_trials.c.trial_id == claim.trial_id
            file = {"checkpoint": checkpoint, "checkpoint_sha256": checkpoint_sha256}
            connection.execute(update(hpo_trials).where(of_trial).values(**file))
        if end == AttemptEnd.AT_RUNG:
            mine = (hpo_trials.c.trial_id == claim.trial_id) & hpo_trials.c.request.is_(None)
            connection.execute(update(hpo_trials).where(mine).values(request=Request.AWAIT_PROMOTION))
        end_idle_trials(connection, claim.study_id, only=claim.trial_id)
    return is_ours


def _end_attempt(
    connection: Connection,
    claim: Claim,
    *,
    end: AttemptEnd,
    seconds: float,
    share: float | None,
    memory: int | None,
    cause: str | None,
    error: str | None,
) -> bool:
    words: dict[str, Any] = {"cause": shortened(cause), "error": shortened(error), "memory": memory}
    if share is not None:
        words["share"] = share
    result = connection.execute(
        update(hpo_attempts)
        .where(_is_leased(claim))
        .values(ended=db_now(), lease_until=db_now(), kind=end, seconds=seconds, **words)
    )
    return result.rowcount == 1


def may_retry(connection: Connection, claim: Claim, *, end: AttemptEnd, retries: int) -> bool:
    """Whether fewer than `retries` of the trial's attempts have ended in this way."""
    return retries > 0 and attempts_ended(connection, claim.trial_id, end) < retries


def forget_checkpoints(connection: Connection, trial_ids: Sequence[int]) -> bool:
    """Forget the checkpoints of these trials, which are no longer among the best."""
    gone = update(hpo_trials).where(hpo_trials.c.trial_id.in_(trial_ids))
    connection.execute(gone.values(checkpoint=None, checkpoint_sha256=None))
    return True


def shortened(error: str | None) -> str | None:
    """The end of a long error, as every database accepts it: zero bytes and lone surrogates are escaped."""
    if error is None:
        return None
    left_out = max(0, len(error) - MAX_ERROR_CHARACTERS)
    kept = error[left_out:].replace("\0", "\\x00").encode(errors="backslashreplace").decode()
    return f"[{left_out} characters left out]\n{kept}" if left_out else kept


def upsert(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    while_leased: Claim | None = None,
) -> int:
    """Insert a row, or update the one that is there; how many rows were written.

    Args:
        while_leased: write only while this lease is ours, which saves the round trip of checking it before.
    """
    statement = _upsert(connection.dialect.name, table, (*key,), (*values,), is_conditional=while_leased is not None)
    row = {**key, **values}
    if while_leased is not None:
        row = {f"new_{name}": value for name, value in row.items()} | {"leased": while_leased.attempt_id}
    result = connection.execute(statement, row, execution_options={"preserve_rowcount": True})
    return int(result.rowcount)


@functools.cache
def _upsert(
    dialect: str, table: Table, key: tuple[str, ...], values: tuple[str, ...], *, is_conditional: bool = False
) -> Any:
    """The statement of `upsert`. It is built once: that takes longer than to run it, and every epoch needs two.

    Args:
        is_conditional: its values are called `new_...`, and it writes nothing when the attempt `leased` has ended.
    """
    # The database's own insert, which can update the row that is there.
    statement = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    if is_conditional:
        names = [*key, *values]
        is_ours = and_(hpo_attempts.c.attempt_id == bindparam("leased"), hpo_attempts.c.ended.is_(None))
        row = select(*(bindparam(f"new_{name}", type_=table.c[name].type) for name in names)).where(
            exists().where(is_ours)
        )
        statement = statement.from_select(names, row)
    return statement.on_conflict_do_update(
        index_elements=[*key], set_={name: statement.excluded[name] for name in values}
    )


def _is_leased(claim: Claim) -> Any:
    return and_(hpo_attempts.c.attempt_id == claim.attempt_id, hpo_attempts.c.ended.is_(None))
