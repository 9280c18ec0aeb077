"""A trial as a plain record: everything stored about it, read with one statement per table."""

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
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_trials,
    hpo_workers,
    trial_intermediate_values,
    trial_params,
    trial_values,
    trials,
)
from hpo.study.artifacts import sha256_of
from hpo.study.states import OptunaState, TrialState

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule


@dataclass(frozen=True)
class TrialRecord:
    """One trial in any state.

    Attributes:
        number: counts from 0 within the study.
        state: see `hpo.study.states.TrialState`; paused means at a rung, idle that no worker trains it.
        value: the objective; of a complete trial its best epoch's, of a pruned or running one the last epoch's.
        params: the searched parameters that were active.
        config: all arguments of its model and data, searched or pinned, and its epochs and seed.
        curve: (epoch, metrics by name), one entry per epoch, the first epoch being 1.
        seconds: of all its attempts; None until one has ended.
        attempts: how often a worker has claimed it.
        causes: how each of these attempts ended, in order; None for one that still runs.
        cause: why it failed, in a few words; None for the others.
        error: of a failed trial, the message or traceback.
        device: that the last attempt ran on.
        worker: `host:process` of the last attempt.
        checkpoint: file with the best epoch's weights, on the machine that trained it; None when it was not kept.
        checkpoint_sha256: of that file as the trial wrote it, in hexadecimal; None for trials of earlier releases.
    """

    number: int
    state: TrialState
    value: float | None
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    curve: tuple[tuple[int, Mapping[str, float]], ...]
    best_epoch: int | None
    seconds: float | None
    attempts: int
    causes: tuple[str | None, ...]
    cause: str | None
    error: str | None
    device: str | None
    worker: str | None
    checkpoint: str | None
    checkpoint_sha256: str | None
    started: datetime | None  # UTC, naive, as Optuna stores it
    ended: datetime | None

    @property
    def epochs(self) -> int:
        """The number of epochs that it has been trained for."""
        return self.curve[-1][0] if self.curve else 0

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: plain types, the curve left out."""
        plain = asdict(self)
        del plain["curve"]
        for name in ("started", "ended"):
            moment = plain[name]
            plain[name] = None if moment is None else moment.isoformat(timespec="milliseconds") + "Z"
        return plain | {"epochs": self.epochs, "causes": list(self.causes)}

    def load_model(self, *, project: str | Path = ".") -> LightningModule:
        """Build the model again and give it the weights of its best epoch; on the CPU, in evaluation mode.

        Args:
            project: folder from which the model's module is imported.

        Raises:
            HpoError: the trial has no checkpoint, the file or the class is not there, or it is another file than the
                trial wrote.
        """
        if self.checkpoint is None:
            raise HpoError(
                f"trial {self.number} ({self.state}) has no checkpoint: a study keeps those of its best trials "
                "(keep: {checkpoints: 5} in the study file)"
            )
        path = self.own_checkpoint(Path(self.checkpoint))
        from hpo.training.load_model import load_model

        return load_model(self.config, path, Path(project))

    def own_checkpoint(self, path: Path) -> Path:
        """The path, unless its file is another one than the trial wrote; a missing file is not looked at.

        Raises:
            HpoError: it is, or cannot be read.
        """
        try:
            is_own = self.checkpoint_sha256 in (None, sha256_of(path))
        except FileNotFoundError:
            return path
        except OSError as error:
            raise HpoError(f"{path} cannot be read: {error.strerror}") from error
        if not is_own:
            raise HpoError(
                f"{path} is not the file that trial {self.number} wrote: it was replaced or changed. Put back a copy "
                "of it, or read the file that is there with torch.load(..., weights_only=True)"
            )
        return path


def read_records(connection: Connection, study_id: int, only: Sequence[int] | None) -> dict[int, TrialRecord]:
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
        if value is None and row.state in (OptunaState.RUNNING, OptunaState.PRUNED) and steps[key]:
            value = max(steps[key], key=lambda step: int(step.step)).intermediate_value
        records[key] = TrialRecord(
            number=row.number,
            state=TrialState.of(
                row.state,
                is_trained=last is None or last.ended is None,
                request=own.request if own is not None else None,
            ),
            value=value,
            params={p.param_name: _param(p.param_value, p.distribution_json) for p in params[key]},
            config=json.loads(own.config) if own is not None and own.config else {},
            curve=curve,
            best_epoch=own.best_epoch if own is not None else None,
            seconds=own.seconds if own is not None else None,
            attempts=len(attempts[key]),
            causes=tuple(attempt.cause for attempt in attempts[key]),
            cause=own.cause if own is not None else None,
            error=own.error if own is not None else None,
            device=last.device if last is not None else None,
            worker=f"{last.host}:{last.pid}" if last is not None else None,
            checkpoint=own.checkpoint if own is not None else None,
            checkpoint_sha256=own.checkpoint_sha256 if own is not None else None,
            started=row.datetime_start,
            ended=row.datetime_complete,
        )
    return records


def _curve(epochs: list[Any], steps: list[Any]) -> tuple[tuple[int, Mapping[str, float]], ...]:
    if epochs:
        return tuple((e.epoch, json.loads(e.metrics)) for e in sorted(epochs, key=lambda e: int(e.epoch)))
    # A trial of another program: Optuna stores the objective only.
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
