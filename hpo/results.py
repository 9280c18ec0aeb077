"""The result of a study as plain records, read with a handful of statements and without Optuna, torch or pandas.

study = hpo.open_study("digits-dnn")
study.best(5)
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from hpo.errors import HpoError
from hpo.queue import LEASE_SECONDS
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_trials,
    hpo_workers,
    studies,
    trial_intermediate_values,
    trial_params,
    trial_values,
    trials,
)
from hpo.tally import find, progress

if TYPE_CHECKING:
    import pandas as pd
    from pytorch_lightning import LightningModule

STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclass(frozen=True)
class TrialRecord:
    """One trial, whatever became of it.

    Attributes:
        number: counts from 0 within the study.
        state: complete, pruned, failed, running or waiting.
        value: the objective; of a complete trial its best epoch's, of a pruned or running one the last epoch's.
        params: the searched parameters that were active.
        config: everything that its model, its data and its training were built with, also what was pinned.
        curve: (epoch, metrics by name), one entry an epoch, the first epoch being 1.
        seconds: of all its attempts; None until one has ended.
        attempts: how often a worker took it on.
        cause: why it failed, in a few words; None for the others.
        error: of a failed trial, the message or traceback.
        device: that the last attempt ran on.
        worker: `host:process` of the last attempt.
        checkpoint: file with the best epoch's weights, on the machine that trained it; None when it was not kept.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    curve: tuple[tuple[int, Mapping[str, float]], ...]
    best_epoch: int | None
    seconds: float | None
    attempts: int
    cause: str | None
    error: str | None
    device: str | None
    worker: str | None
    checkpoint: str | None
    started: datetime | None  # UTC, naive, as Optuna stores it
    ended: datetime | None

    @property
    def epochs(self) -> int:
        """How many it was trained for."""
        return self.curve[-1][0] if self.curve else 0

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: plain types, the curve left out."""
        plain = asdict(self)
        del plain["curve"]
        for name in ("started", "ended"):
            moment = plain[name]
            plain[name] = None if moment is None else moment.isoformat(timespec="milliseconds") + "Z"
        return plain | {"epochs": self.epochs}

    def load_model(self, *, project: str | Path = ".") -> LightningModule:
        """Build the model again and give it the weights of its best epoch; on the CPU, in evaluation mode.

        Args:
            project: folder from which the model's module is imported.

        Raises:
            HpoError: the trial has no checkpoint, or the file or the class is not there.
        """
        if self.checkpoint is None:
            raise HpoError(
                f"trial {self.number} ({self.state}) has no checkpoint: a study keeps those of its best trials "
                "(keep: {checkpoints: 5} in the study file)"
            )
        from hpo.training.checkpoint import load_model

        return load_model(self.config["model"], Path(self.checkpoint), Path(project))


@dataclass(frozen=True)
class WorkerRecord:
    """A worker that trains for the study, or did a moment ago."""

    name: str
    slots: int
    running: int
    seconds_since_beat: float


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        state: running, paused, stopped, or done when all that was asked for has ended.
        counts: trials by state.
        budget: for each limit, what was asked for and what is spent.
    """

    study: str
    state: str
    reason: str | None
    counts: Mapping[str, int]
    budget: Mapping[str, Mapping[str, float]]
    best: TrialRecord | None
    workers: Sequence[WorkerRecord]

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["best"] = None if self.best is None else self.best.to_json()
        return plain


class Study:
    """A study in a store, to be looked at. Each call reads the store anew."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store
        self._study_id, self._direction = find(store, name)

    @property
    def direction(self) -> str:
        """maximize or minimize."""
        return self._direction

    def best(self, k: int = 1) -> list[TrialRecord]:
        """The k best complete trials, the best first; fewer when there are not so many."""
        with self._store.read() as connection:
            value = trial_values.c.value
            order = value.desc() if self._direction == "maximize" else value.asc()
            chosen = connection.scalars(
                select(trials.c.trial_id)
                .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
                .where(trials.c.study_id == self._study_id, trials.c.state == "COMPLETE", value.is_not(None))
                .order_by(order, trials.c.number)
                .limit(k)
            ).all()
            by_id = _records(connection, self._study_id, chosen)
        return [by_id[trial_id] for trial_id in chosen]

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        with self._store.read() as connection:
            return sorted(_records(connection, self._study_id, None).values(), key=lambda record: record.number)

    def frame(self) -> pd.DataFrame:
        """A row a trial: number, state, value, `params_*`, epochs, seconds, attempts, cause, device, worker."""
        import pandas as pd

        rows = []
        for record in self.trials():
            plain = record.to_json()
            row = {name: plain[name] for name in ("number", "state", "value")}
            row |= {f"params_{name}": value for name, value in record.params.items()}
            names = ("epochs", "best_epoch", "seconds", "attempts", "cause", "device", "worker", "checkpoint")
            rows.append(row | {name: plain[name] for name in names})
        return pd.DataFrame(rows)

    def status(self) -> StudyStatus:
        """How far it is, and who works on it."""
        state, reason, counts = progress(self._store, self._study_id)
        best = self.best(1)
        by_state = {
            "complete": counts.complete,
            "pruned": counts.pruned,
            "failed": counts.failed,
            "running": counts.running,
            "waiting": counts.waiting,
        }
        is_done = state == "running" and counts.target > 0 and counts.ended >= counts.target
        return StudyStatus(
            study=self.name,
            state="done" if is_done else state,
            reason=reason,
            counts=by_state,
            budget={"trials": {"target": counts.target, "spent": counts.claimed}},
            best=best[0] if best else None,
            workers=self._workers(),
        )

    def _workers(self) -> list[WorkerRecord]:
        with self._store.read() as connection:
            rows = connection.execute(
                select(hpo_workers, (db_now() - hpo_workers.c.beat).label("silence")).where(
                    hpo_workers.c.ended.is_(None), hpo_workers.c.beat > db_now() - 2 * LEASE_SECONDS
                )
            ).all()
            running: dict[int, int] = defaultdict(int)
            for worker_id in connection.scalars(
                select(hpo_attempts.c.worker_id)
                .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
                .where(trials.c.study_id == self._study_id, hpo_attempts.c.ended.is_(None))
            ):
                running[worker_id] += 1
        return [
            WorkerRecord(f"{row.host}:{row.pid}", row.slots, running[row.worker_id], round(row.silence, 1))
            for row in rows
        ]


def list_studies(store: Store) -> list[StudyStatus]:
    """The status of every study, the oldest first."""
    with store.read() as connection:
        names = connection.scalars(select(studies.c.study_name).order_by(studies.c.study_id)).all()
    return [Study(store, name).status() for name in names]


def _records(connection: Connection, study_id: int, only: Sequence[int] | None) -> dict[int, TrialRecord]:
    """Records by the store's id: of the whole study, or of some trials."""
    wanted = trials.c.study_id == study_id
    if only is not None:
        wanted = wanted & trials.c.trial_id.in_(only)
    chosen = select(trials.c.trial_id).where(wanted)

    def rows_of(table: Any, *columns: Any) -> dict[int, list[Any]]:
        return _by_trial(connection.execute(select(table, *columns).where(table.c.trial_id.in_(chosen))))

    found = connection.execute(select(trials).where(wanted)).all()
    params, values, steps = rows_of(trial_params), rows_of(trial_values), rows_of(trial_intermediate_values)
    ours, epochs = rows_of(hpo_trials), rows_of(hpo_epochs)
    attempts = _by_trial(
        connection.execute(
            select(hpo_attempts, hpo_workers.c.host, hpo_workers.c.pid)
            .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
            .where(hpo_attempts.c.trial_id.in_(chosen))
            .order_by(hpo_attempts.c.number)
        )
    )
    records = {}
    for row in found:
        key = row.trial_id
        own = ours[key][0] if ours[key] else None
        last = attempts[key][-1] if attempts[key] else None
        curve = _curve(epochs[key], steps[key])
        value = _value(values[key])
        if value is None and row.state in ("RUNNING", "PRUNED") and steps[key]:
            value = max(steps[key], key=lambda step: int(step.step)).intermediate_value
        records[key] = TrialRecord(
            number=row.number,
            state=STATES[row.state],
            value=value,
            params={p.param_name: _param(p.param_value, p.distribution_json) for p in params[key]},
            config=json.loads(own.config) if own is not None and own.config else {},
            curve=curve,
            best_epoch=own.best_epoch if own is not None else None,
            seconds=own.seconds if own is not None else None,
            attempts=len(attempts[key]),
            cause=own.cause if own is not None else None,
            error=own.error if own is not None else None,
            device=last.device if last is not None else None,
            worker=f"{last.host}:{last.pid}" if last is not None else None,
            checkpoint=own.checkpoint if own is not None else None,
            started=row.datetime_start,
            ended=row.datetime_complete,
        )
    return records


def _curve(epochs: list[Any], steps: list[Any]) -> tuple[tuple[int, Mapping[str, float]], ...]:
    if epochs:
        return tuple((e.epoch, json.loads(e.metrics)) for e in sorted(epochs, key=lambda e: int(e.epoch)))
    # A trial of another program: Optuna knows the objective only.
    return tuple((s.step, {"value": s.intermediate_value}) for s in sorted(steps, key=lambda s: int(s.step)))


def _value(rows: list[Any]) -> float | None:
    value = rows[0].value if rows else None
    return None if value is None or not math.isfinite(value) else value


def _param(value: float, distribution_json: str) -> Any:
    """The parameter's own value: Optuna stores choices by their index, and integers as floats."""
    distribution = json.loads(distribution_json)
    if distribution["name"] == "CategoricalDistribution":
        return distribution["attributes"]["choices"][int(value)]
    return int(value) if distribution["name"].startswith("Int") else value


def _by_trial(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.trial_id].append(row)
    return found
