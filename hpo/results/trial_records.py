"""Reads trials as records, with one statement per table."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, select, true

from hpo.queue.front import of_best_epoch, values_by_epoch
from hpo.results.params import params_of
from hpo.results.trial import Curve, TrialRecord
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_trials,
    hpo_workers,
    trial_intermediate_values,
    trial_system_attributes,
    trial_values,
    trials,
)
from hpo.study.constraints import ATTRIBUTE, BEFORE_CHANGE, of_attributes
from hpo.study.objectives import Objectives
from hpo.study.states import Direction, OptunaState, TrialState

LEADING = (OptunaState.RUNNING, OptunaState.PRUNED)  # their value is the best of their curve


def read_records(
    connection: Connection,
    study_id: int,
    only: Sequence[int] | None,
    *,
    objectives: Objectives,
    has_curves: bool = True,
) -> dict[int, TrialRecord]:
    """Records by the store's id: of the whole study, or of some trials.

    Args:
        has_curves: with their curves and their provenance, which take most of the time of many trials.
    """
    wanted = trials.c.study_id == study_id
    if only is not None:
        wanted = wanted & trials.c.trial_id.in_(only)
    return records_where(connection, wanted, {study_id: objectives}, has_curves=has_curves)


def records_where(
    connection: Connection, wanted: ColumnElement[bool], objectives: Mapping[int, Objectives], *, has_curves: bool
) -> dict[int, TrialRecord]:
    """Records by the store's id, of trials of several studies.

    Args:
        wanted: a condition on `trials`.
        objectives: of each study.
    """
    chosen = select(trials.c.trial_id).where(wanted)
    found = connection.execute(select(trials).where(wanted)).all()
    params = params_of(connection, wanted)
    values = _rows(connection, trial_values, chosen)
    own_columns = [column for column in hpo_trials.c if has_curves or column.name != "provenance"]
    own_rows = connection.execute(select(*own_columns).where(hpo_trials.c.trial_id.in_(chosen)))
    ours = {row.trial_id: row for row in own_rows}
    # the value of one that has not ended with it is the best of its curve
    is_needed = true() if has_curves else trials.c.state.in_(LEADING)
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
                *(hpo_attempts.c[name] for name in ("trial_id", "ended", "cause", "device", "memory")),
                *(hpo_workers.c.host, hpo_workers.c.pid),
            )
            .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
            .where(hpo_attempts.c.trial_id.in_(chosen))
            .order_by(hpo_attempts.c.number)
        )
    )
    violations = violations_of(connection, chosen)
    reached = _values_so_far(connection, chosen.where(trials.c.state.in_(LEADING)), objectives)
    records = {}
    for row in found:
        key = row.trial_id
        own = ours.get(key)
        last = attempts[key][-1] if attempts[key] else None
        value, best_epoch = _value(values[key]), own.best_epoch if own is not None else None
        if row.state in LEADING:
            value, best_epoch = _best_of(steps[key], objectives[row.study_id].first)
        records[key] = TrialRecord(
            number=row.number,
            state=TrialState.of(
                row.state,
                is_trained=last is None or last.ended is None,
                request=own.request if own is not None else None,
            ),
            value=value,
            values=reached.get(key, ()) or _values(values[key]),
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
            violations=violations.get(key, {}),
            memory=max((one.memory for one in attempts[key] if one.memory is not None), default=None),
        )
    return records


def violations_of(connection: Connection, chosen: Select[Any]) -> dict[int, dict[str, float]]:
    """By the store's id, by how much trials violate each constraint; but not that of before a change.

    Args:
        chosen: a query for the trials' ids.
    """
    attributes = trial_system_attributes.c
    rows = connection.execute(
        select(attributes.trial_id, attributes.key, attributes.value_json).where(
            attributes.trial_id.in_(chosen), attributes.key.startswith(ATTRIBUTE), attributes.key != BEFORE_CHANGE
        )
    )
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for trial_id, key, text in rows:
        found[trial_id] |= of_attributes({key: json.loads(text)})
    return found


def _values_so_far(
    connection: Connection, chosen: Select[Any], objectives: Mapping[int, Objectives]
) -> dict[int, tuple[float, ...]]:
    """By trial_id, the values at the best epochs of trials that have not ended with them, of studies of ours with
    several objectives."""
    found: dict[int, tuple[float, ...]] = {}
    for study_id, its in objectives.items():
        if its.are_several and its.metrics:
            curves = values_by_epoch(connection, chosen.where(trials.c.study_id == study_id), its)
            found |= {trial_id: of_best_epoch(curve, its) for trial_id, curve in curves.items()}
    return found


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


def _by_trial(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.trial_id].append(row)
    return found
