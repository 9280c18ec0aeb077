"""The rows of a fork: a new study with trials of another one, entered in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from hpo.errors import StoreError
from hpo.queue.delete import references
from hpo.queue.enqueue import insert_points, insert_waiting
from hpo.queue.findings import EARLIER, add_finding
from hpo.queue.progress import counts_of
from hpo.queue.studies import create
from hpo.store.tables import (
    hpo_epochs,
    hpo_metadata,
    hpo_trials,
    optuna_metadata,
    studies,
    trial_intermediate_values,
    trial_params,
    trial_system_attributes,
    trial_values,
    trials,
)
from hpo.study.earlier import Earlier
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import OptunaState

_IDS_AT_ONCE = 1_000
_RUNGS = "completed_rung_"  # begins Optuna's notes of what its pruners have decided


@dataclass(frozen=True)
class ForkedTrial:
    """A trial of the old study, as it is in the new one.

    Attributes:
        trial_id: of the old one.
        params: by name, the value and the distribution as Optuna stores them.
        last: the last epoch, or step, that is kept of its curve; None for all.
        value: of an ended trial, if it has one.
        columns: of `hpo_trials`, that differ from the old one's.
        given: the parameters of one that still waits; then it has nothing else.
    """

    trial_id: int
    state: OptunaState
    params: Mapping[str, tuple[float, str]]
    last: int | None
    value: float | None
    columns: Mapping[str, Any]
    given: Mapping[str, Any] | None = None


def insert_fork(
    connection: Connection,
    resolved: ResolvedStudy,
    forked: Sequence[ForkedTrial],
    *,
    created: float,
    keeps_rungs: bool,
    earlier: Earlier | None,
) -> int:
    """Enter the study and its trials, numbered from 0 in their order; after them wait the points of its file.

    Args:
        created: seconds since 1970.
        keeps_rungs: what the pruner noted of the trials holds in the new study.
        earlier: what the study started from.

    Returns:
        How many of the trials that its budget counts have ended.

    Raises:
        StoreError: the store has a study of that name by now, or the old one was deleted.
    """
    name = resolved.spec.study
    if connection.scalar(select(studies.c.study_id).where(studies.c.study_name == name)) is not None:
        raise StoreError(f"the store has a study '{name}' already: choose another name")
    study_id = create(connection, resolved, created=created)
    if earlier is not None:
        add_finding(connection, study_id, EARLIER, earlier.to_json())
    insert_points(connection, study_id, resolved.space, resolved.spec.points, number=len(forked))
    begun = {}
    for number, trial in enumerate(forked):
        if trial.given is not None:
            insert_waiting(connection, study_id, number, trial.given)
            continue
        begun[trial.trial_id] = (number, trial)
    olds = list(begun)
    for first in range(0, len(olds), _IDS_AT_ONCE):
        _copy(connection, study_id, {old: begun[old] for old in olds[first : first + _IDS_AT_ONCE]}, keeps_rungs)
    return counts_of(connection, study_id).ended


def _copy(
    connection: Connection, study_id: int, begun: Mapping[int, tuple[int, ForkedTrial]], keeps_rungs: bool
) -> None:
    """Copy the rows of these trials in all tables, Optuna's and ours, that refer to trials."""
    rows = connection.execute(select(trials).where(trials.c.trial_id.in_(begun))).mappings().all()
    if len(rows) < len(begun):
        raise StoreError("the study was deleted meanwhile: nothing was forked")
    news = {}
    for row in rows:
        number, trial = begun[row["trial_id"]]
        values = {**row, "study_id": study_id, "number": number, "state": trial.state}
        values.pop("trial_id")
        if trial.state != row["state"]:  # it has ended by being forked
            values["datetime_complete"] = row["datetime_complete"] or row["datetime_start"]
        inserted = connection.execute(insert(trials).values(values))
        news[row["trial_id"]] = int(inserted.inserted_primary_key[0])  # type: ignore[index]
    known = {**optuna_metadata.tables, **hpo_metadata.tables}
    written = {trial_params.name, trial_values.name}
    for table in [known[name] for name, _ in references(connection)["trials"] if name in known and name not in written]:
        found = connection.execute(select(table).where(table.c.trial_id.in_(begun))).mappings()
        _insert(connection, table, [made for row in found if (made := _row(table, row, begun, news, keeps_rungs))])
    params: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for old, (_, trial) in begun.items():
        params += [
            {"trial_id": news[old], "param_name": name, "param_value": value, "distribution_json": distribution}
            for name, (value, distribution) in trial.params.items()
        ]
        if trial.value is not None:
            results.append({"trial_id": news[old], "objective": 0, "value": trial.value, "value_type": "FINITE"})
    _insert(connection, trial_params, params)
    _insert(connection, trial_values, results)


def _row(
    table: Table,
    row: Mapping[Any, Any],
    begun: Mapping[int, tuple[int, ForkedTrial]],
    news: Mapping[int, int],
    keeps_rungs: bool,
) -> dict[str, Any] | None:
    """A row of the new trial; None of what does not hold for it."""
    _, trial = begun[row["trial_id"]]
    step = {hpo_epochs.name: "epoch", trial_intermediate_values.name: "step"}.get(table.name)
    if step is not None and trial.last is not None and row[step] > trial.last:
        return None
    if table is trial_system_attributes and not keeps_rungs and row["key"].startswith(_RUNGS):
        return None
    made = {**row, "trial_id": news[row["trial_id"]]}
    own = [column.name for column in table.primary_key if column.name not in ("trial_id", "epoch")]
    for name in own:  # which the database numbers
        del made[name]
    if table is hpo_trials:
        made |= trial.columns
    return made


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), list(rows))
