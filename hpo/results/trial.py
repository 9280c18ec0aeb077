"""A trial as a plain record: everything stored about it, read with one statement per table."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, select, true

from hpo.errors import HpoError, failure_in_words
from hpo.space import Choice, SearchSpace
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_studies,
    hpo_trials,
    hpo_workers,
    trial_intermediate_values,
    trial_params,
    trial_values,
    trials,
)
from hpo.study.artifacts import sha256_of
from hpo.study.length import Unit
from hpo.study.states import Direction, OptunaState, TrialState

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

Curve = tuple[tuple[int, Mapping[str, float]], ...]


@dataclass(frozen=True)
class TrialRecord:
    """One trial in any state.

    Attributes:
        number: counts from 0 within the study.
        state: see `hpo.study.states.TrialState`; paused means at a rung, idle that no worker trains it.
        value: the objective of its best epoch so far; None before an epoch has ended, and of a failed trial.
        values: of each objective, when it has ended with them; a study of another program may have several.
        params: the searched parameters that were active.
        config: all arguments of its model and data, searched or pinned, and its epochs or steps and its seed.
        curve: (epoch, metrics by name), one entry per epoch, the first epoch being 1; or one per validation, by step;
            empty where it was not asked for.
        epochs: the number of epochs, or steps, that it has been trained for.
        seconds: of all its attempts; None until one has ended.
        attempts: how often a worker has claimed it.
        causes: how each of these attempts ended, in order; None for one that still runs.
        best_epoch: whose value that is.
        cause: why it failed, was ended or diverged, in a few words; None for the others.
        error: of a failed trial, the message or traceback.
        device: that the last attempt ran on.
        worker: `host:process` of the last attempt.
        checkpoint: file with the best epoch's weights, on the machine that trained it; None while it trains, and when
            it was not kept.
        checkpoint_sha256: of that file as the trial wrote it, in hexadecimal; None where it is not known.
        before_change: the change of data or code that was accepted since, in words; such a trial is not compared with
            later ones.
        provenance: seed, data, code, commit, versions, device and the like of its last attempt, and what changed
            between its attempts; empty where they were not recorded, and None in a listing, which does not read them.
    """

    number: int
    state: TrialState
    value: float | None
    values: tuple[float, ...]
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    curve: Curve
    epochs: int
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
    before_change: str | None = None
    provenance: Mapping[str, Any] | None = None

    @property
    def unit(self) -> Unit:
        """What its epochs are: epochs, or the steps of a study whose length is given in steps."""
        return Unit.of(self.config)

    @property
    def max_epochs(self) -> int | None:
        """The number of epochs, or steps, that it is to be trained for, unless it ends early; None before it begins."""
        epochs = self.config.get(self.unit.plural)
        return epochs if isinstance(epochs, int) else None

    @property
    def remark(self) -> str:
        """How far it was trained: 'pruned after 19 of 27 epochs', 'diverged at epoch 20'; empty when to its end."""
        if self.state == TrialState.COMPLETE:
            return self.cause or ""
        total = "" if self.max_epochs is None else f" of {self.max_epochs}"
        return f"{self.state} after {self.epochs}{total} {self.unit.plural}"

    @property
    def failure(self) -> str | None:
        """Why it failed, in a line: 'error: ValueError: too large'; None for one that has not failed."""
        return failure_in_words(self.cause or "", self.error) if self.state == TrialState.FAILED else None

    @property
    def explanation(self) -> str | None:
        """Why it failed or was ended, and what has changed since, in a line; None where there is nothing to say."""
        change = None if self.before_change is None else f"from before a change ({self.before_change})"
        return "; ".join(text for text in (self.failure or self.cause, change) if text) or None

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: plain types, the curve left out, and the provenance where it was not read."""
        plain = dict(vars(self))  # not copied in depth, which takes seconds for thousands of trials
        del plain["curve"]
        if self.provenance is None:
            del plain["provenance"]
        for name in ("started", "ended"):
            moment = plain[name]
            plain[name] = None if moment is None else moment.isoformat(timespec="milliseconds") + "Z"
        return plain | {
            "params": dict(self.params),
            "config": dict(self.config),
            "values": list(self.values),
            "max_epochs": self.max_epochs,
            "unit": self.unit.value,
            "causes": list(self.causes),
        }

    def row(self) -> dict[str, Any]:
        """One flat row: what a table of trials shows, with the parameters as `params_NAME`."""
        plain = self.to_json()
        first = ("number", "state", "value", "best_epoch", "epochs", "max_epochs", "seconds", "attempts")
        last = ("cause", "device", "worker", "checkpoint")
        params = {f"params_{name}": value for name, value in self.params.items()}
        return {name: plain[name] for name in first} | params | {name: plain[name] for name in last}

    def load_model(self, *, project: str | Path = ".") -> LightningModule:
        """Build the model again and give it the weights of its best epoch; on the CPU, in evaluation mode.

        The model refuses batches of a data module of ours that has fitted its scalings, categories and the like on
        other rows than the trial's, such as those of a new file.

        `hpo.load_model` does the same, and loads from a folder or a file where there is no store.

        Args:
            project: folder from which the model's module is imported.

        Raises:
            HpoError: the trial has no checkpoint, the file or the class is not there, or it is another file than the
                trial wrote.
        """
        path = self.kept_checkpoint()
        from hpo.training.load_model import load_model

        return load_model(self.config, path, Path(project))

    def kept_checkpoint(self) -> Path:
        """The file with the weights of its best epoch.

        Raises:
            HpoError: it has none, or it is another file than the trial wrote; a missing file is not looked at.
        """
        if self.checkpoint is None and self.state == TrialState.RUNNING:
            raise HpoError(
                f"trial {self.number} is running: its weights can be loaded when it has ended, or was handed back by "
                "its worker ('hpo pause', Ctrl-C)"
            )
        if self.checkpoint is None:
            raise HpoError(
                f"trial {self.number} ({self.state}) has no checkpoint: a study keeps those of its best trials "
                "(keep: {checkpoints: 5} in the study file)"
            )
        return self.own_checkpoint(Path(self.checkpoint))

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


def read_records(
    connection: Connection,
    study_id: int,
    only: Sequence[int] | None,
    *,
    direction: Direction,
    has_curves: bool = True,
) -> dict[int, TrialRecord]:
    """Records by the store's id: of the whole study, or of some trials.

    Args:
        has_curves: with their curves and their provenance, which take most of the time of many trials.
    """
    wanted = trials.c.study_id == study_id
    if only is not None:
        wanted = wanted & trials.c.trial_id.in_(only)
    return records_where(connection, wanted, {study_id: direction}, has_curves=has_curves)


def records_where(
    connection: Connection, wanted: ColumnElement[bool], directions: Mapping[int, Direction], *, has_curves: bool
) -> dict[int, TrialRecord]:
    """Records by the store's id, of trials of several studies.

    Args:
        wanted: a condition on `trials`.
        directions: of each study's first objective.
    """
    chosen = select(trials.c.trial_id).where(wanted)
    found = connection.execute(select(trials).where(wanted)).all()
    params = params_of(connection, wanted)
    values = _rows(connection, trial_values, chosen)
    own_columns = [column for column in hpo_trials.c if has_curves or column.name != "provenance"]
    own_rows = connection.execute(select(*own_columns).where(hpo_trials.c.trial_id.in_(chosen)))
    ours = {row.trial_id: row for row in own_rows}
    # the value of one that has not ended with it is the best of its curve
    is_needed = true() if has_curves else trials.c.state.in_((OptunaState.RUNNING, OptunaState.PRUNED))
    steps = _rows(connection, trial_intermediate_values, chosen.where(is_needed))
    curves: dict[int, Curve] = {}
    if has_curves:
        metrics = _rows(connection, hpo_epochs, chosen)
        curves = {row.trial_id: _curve(metrics[row.trial_id], steps[row.trial_id]) for row in found}
        epochs = {key: curve[-1][0] for key, curve in curves.items() if curve}
    else:
        epochs = _last(connection, hpo_epochs, "epoch", chosen)
        if len(epochs) < len(found):  # trials of another program, or without an epoch
            epochs = _last(connection, trial_intermediate_values, "step", chosen) | epochs
    attempts = _by_trial(
        connection.execute(
            select(
                *(hpo_attempts.c[name] for name in ("trial_id", "ended", "cause", "device")),
                *(hpo_workers.c.host, hpo_workers.c.pid),
            )
            .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
            .where(hpo_attempts.c.trial_id.in_(chosen))
            .order_by(hpo_attempts.c.number)
        )
    )
    records = {}
    for row in found:
        key = row.trial_id
        own = ours.get(key)
        last = attempts[key][-1] if attempts[key] else None
        value, best_epoch = _value(values[key]), own.best_epoch if own is not None else None
        if row.state in (OptunaState.RUNNING, OptunaState.PRUNED):
            value, best_epoch = _best_of(steps[key], directions[row.study_id])
        records[key] = TrialRecord(
            number=row.number,
            state=TrialState.of(
                row.state,
                is_trained=last is None or last.ended is None,
                request=own.request if own is not None else None,
            ),
            value=value,
            values=_values(values[key]),
            params=params.get(key, {}),
            config=json.loads(own.config) if own is not None and own.config else {},
            curve=curves.get(key, ()),
            epochs=epochs.get(key, 0),
            best_epoch=best_epoch,
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
            before_change=own.before_change if own is not None else None,
            provenance=_provenance(own) if has_curves else None,
        )
    return records


def _rows(connection: Connection, table: Table, chosen: Select[Any]) -> dict[int, list[Any]]:
    return _by_trial(connection.execute(select(table).where(table.c.trial_id.in_(chosen))))


def _provenance(own: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(own.provenance) if own is not None and own.provenance else {}
    return found


def _last(connection: Connection, table: Table, column: str, chosen: Select[Any]) -> dict[int, int]:
    """The largest epoch, or step, of each trial that has one."""
    largest = select(table.c.trial_id, func.max(table.c[column])).where(table.c.trial_id.in_(chosen))
    return {trial_id: number for trial_id, number in connection.execute(largest.group_by(table.c.trial_id))}


def _curve(epochs: list[Any], steps: list[Any]) -> Curve:
    if epochs:
        return tuple((e.epoch, json.loads(e.metrics)) for e in sorted(epochs, key=lambda e: int(e.epoch)))
    # A trial of another program: Optuna stores the objective only.
    return tuple((s.step, {"value": s.intermediate_value}) for s in sorted(steps, key=lambda s: int(s.step)))


def _best_of(steps: list[Any], direction: Direction) -> tuple[float | None, int | None]:
    """(value, epoch) of the best finite value of a curve; of equal ones the earlier."""
    finite = [step for step in steps if step.intermediate_value is not None]
    if not finite:
        return None, None
    best = min(finite, key=lambda step: (direction.cost(step.intermediate_value), step.step))
    return best.intermediate_value, best.step


def _values(rows: list[Any]) -> tuple[float, ...]:
    finite = [row for row in sorted(rows, key=lambda row: int(row.objective)) if row.value is not None]
    return tuple(float(row.value) for row in finite)


def _value(rows: list[Any]) -> float | None:
    return finite(next((row.value for row in rows if row.objective == 0), None))


def finite(value: float | None) -> float | None:
    """The value; None of one that is infinite or not a number."""
    return None if value is None or not math.isfinite(value) else value


def params_of(
    connection: Connection, wanted: ColumnElement[bool], names: Sequence[str] | None = None
) -> dict[int, dict[str, Any]]:
    """Each trial's parameters' values by name, by the store's id; lists and mappings are stored by their labels.

    Args:
        wanted: a condition on `trials`.
        names: of these parameters only.
    """
    rows = connection.execute(
        select(
            trial_params.c.trial_id,
            trials.c.study_id,
            trial_params.c.param_name,
            trial_params.c.param_value,
            trial_params.c.distribution_json,
        )
        .join(trials, trials.c.trial_id == trial_params.c.trial_id)
        .where(wanted, true() if names is None else trial_params.c.param_name.in_(names))
    ).all()
    distributions: dict[str, Any] = {}  # by their texts, which are the same for thousands of trials
    chosen: dict[tuple[int, str, str], Any] = {}  # by study, name and label, which are the same as often
    stored: dict[int, str] | None = None
    spaces: dict[int, SearchSpace] = {}
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, study_id, name, number, text in rows:
        distribution = distributions.get(text)
        if distribution is None:
            distribution = distributions[text] = json.loads(text)
        value = _param(number, distribution)
        if isinstance(value, str):
            key = study_id, name, value
            if key not in chosen:
                if stored is None:
                    stored = _spaces(connection, wanted)
                if study_id not in spaces:  # another program's study has none
                    text = stored.get(study_id)
                    spaces[study_id] = SearchSpace.from_json(json.loads(text)) if text else SearchSpace()
                chosen[key] = _of_label(value, name, spaces[study_id])
            value = chosen[key]
        found[trial_id][name] = value
    return found


def _spaces(connection: Connection, wanted: ColumnElement[bool]) -> dict[int, str]:
    """The search spaces of the trials' studies, as JSON."""
    chosen = hpo_studies.c.study_id.in_(select(trials.c.study_id).where(wanted))
    rows = connection.execute(select(hpo_studies.c.study_id, hpo_studies.c.space).where(chosen))
    return {study_id: space for study_id, space in rows}


def _of_label(value: str, name: str, space: SearchSpace) -> Any:
    range_ = space[name].range if name in space else None
    return range_.take(value) if isinstance(range_, Choice) and value in range_.labels else value


def _param(value: float, distribution: Mapping[str, Any]) -> Any:
    """The parameter's own value: Optuna stores choices by their index, and integers as floats."""
    if distribution["name"] == "CategoricalDistribution":
        return distribution["attributes"]["choices"][int(value)]
    return int(value) if distribution["name"].startswith("Int") else value


def _by_trial(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.trial_id].append(row)
    return found
