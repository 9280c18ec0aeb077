"""Rows as workers leave them in a store, written directly into the tables; also invalid ones."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select

from hpo.queue.studies import StoredStudy
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_trials, hpo_workers, trial_params, trial_values, trials

HERE = platform.node()
NOBODY = 2**22 + 1  # no process has such a number: Linux numbers up to 2**22
DISTRIBUTION = {
    "depth": '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}',
    "optimizer": '{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd"]}}',
}
PARAMS = {"lr": 0.001, "optimizer": "adam", "depth": 2, "dropout": 0.1}


def add_worker(store: Store, *, host: str = HERE, silent: float = 0.0) -> int:
    """A worker that beat so many seconds ago."""
    with store.write() as connection:
        values = {"host": host, "pid": NOBODY, "slots": 1, "started": db_now() - silent, "beat": db_now() - silent}
        return int(connection.execute(insert(hpo_workers).values(values)).inserted_primary_key[0])  # type: ignore[index]


def add_trial(
    store: Store,
    study: StoredStudy | int,
    *,
    state: str = "COMPLETE",
    value: float = 0.5,
    checkpoint: Path | None = None,
    checkpoint_sha256: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> int:
    """A trial with two parameters; its number in the store."""
    study_id = study if isinstance(study, int) else study.study_id
    now = datetime.now(UTC).replace(tzinfo=None)
    ended = None if state in ("RUNNING", "WAITING") else now
    with store.write() as connection:
        number = connection.scalar(select(func.count()).where(trials.c.study_id == study_id))
        trial = {"number": number, "study_id": study_id, "state": state, "datetime_start": now}
        trial_id: int = connection.execute(
            insert(trials).values(**trial, datetime_complete=ended)
        ).inserted_primary_key[0]  # type: ignore[index]
        for name, internal in (("depth", 2.0), ("optimizer", 0.0)):
            row = {"param_name": name, "param_value": internal, "distribution_json": DISTRIBUTION[name]}
            connection.execute(insert(trial_params).values(trial_id=trial_id, **row))
        if state == "COMPLETE":
            row = {"trial_id": trial_id, "objective": 0, "value": value, "value_type": "FINITE"}
            connection.execute(insert(trial_values).values(row))
        ours = {
            "config": json.dumps(config or {"params": PARAMS}),
            "checkpoint": str(checkpoint) if checkpoint else None,
            "checkpoint_sha256": checkpoint_sha256,
        }
        connection.execute(insert(hpo_trials).values(trial_id=trial_id, **ours))
    return trial_id


def add_attempt(
    store: Store,
    trial_id: int,
    worker_id: int,
    *,
    number: int = 1,
    lease: float | None = None,
) -> int:
    """An attempt that has ended, or whose lease ends in so many seconds."""
    with store.write() as connection:
        return int(
            connection.execute(
                insert(hpo_attempts).values(
                    trial_id=trial_id,
                    number=number,
                    worker_id=worker_id,
                    slot=0,
                    started=db_now() - 60,
                    lease_until=db_now() + (lease or 0.0),
                    ended=db_now() if lease is None else None,
                )
            ).inserted_primary_key[0]  # type: ignore[index]
        )


def folder_of(artifacts: Path, study: StoredStudy, trial: int) -> Path:
    """Where a worker keeps what a trial writes."""
    return artifacts / f"{study.name}-{datetime.fromtimestamp(study.created, UTC):%Y%m%d-%H%M%S}" / f"{trial:05d}"
