"""A study's trials read from the store as Optuna's FrozenTrial, in as few statements as possible."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Connection,
    Double,
    Integer,
    Select,
    String,
    Table,
    and_,
    bindparam,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from hpo.search.several import FURTHER
from hpo.store.json_number import json_number
from hpo.store.tables import (
    hpo_epochs,
    hpo_trials,
    trial_intermediate_values,
    trial_params,
    trial_system_attributes,
    trial_values,
    trials,
)
from hpo.study.states import OptunaState, Request

_IDS_AT_ONCE = 1_000  # in each of a statement's four parts; SQLite takes 32,766 in all, PostgreSQL 65,535
_PART = ("step", "name", "number", "text")  # of a row of `_parts`
_INFINITE = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}


def changed(
    connection: Connection, study_id: int, *, known: int, unfinished: Collection[int] = (), paused: Collection[int] = ()
) -> Sequence[Any]:
    """The study's trials that may have changed, by number.

    Rows of `trials` with cause, request, before_change, and the last epoch as `reached`.

    Args:
        known: the number of trials that are known, which are the first ones.
        unfinished: ids of those of them that may have changed.
        paused: ids of those of them that were paused at a rung.
    """
    some = {"of_study": study_id, "known": known, "unfinished": list(unfinished), "at_rung": list(paused)}
    return connection.execute(_changed(), some).all()


@functools.cache
def _changed() -> Select[Any]:
    has_changed = or_(
        trials.c.state != OptunaState.RUNNING, hpo_trials.c.request.is_distinct_from(Request.AWAIT_PROMOTION)
    )
    is_wanted = or_(
        trials.c.number >= bindparam("known"),
        trials.c.trial_id.in_(bindparam("unfinished", expanding=True)),
        and_(trials.c.trial_id.in_(bindparam("at_rung", expanding=True)), has_changed),
    )
    reached = select(func.max(trial_intermediate_values.c.step)).where(
        trial_intermediate_values.c.trial_id == trials.c.trial_id
    )
    return (
        select(
            trials,
            hpo_trials.c.cause,
            hpo_trials.c.request,
            hpo_trials.c.before_change,
            reached.scalar_subquery().label("reached"),
        )
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == bindparam("of_study"), is_wanted)
        .order_by(trials.c.number)
    )


def begun(row: Any) -> FrozenTrial:
    """The trial of a row of `changed`, of which nothing is known but that it has begun, or waits."""
    trial = _frozen(row, defaultdict(list), ())
    trial.state = TrialState.WAITING if trial.state == TrialState.WAITING else TrialState.RUNNING
    return trial


def frozen(
    connection: Connection, rows: Sequence[Any], *, with_params: bool, further: tuple[str, ...] = ()
) -> Iterator[tuple[Any, FrozenTrial]]:
    """Each of these rows of `changed`, and its trial.

    Args:
        with_params: also the parameters and their distributions.
        further: the metrics of the objectives besides the leading one.
    """
    is_any_ended = any(TrialState[row.state].is_finished() for row in rows)
    statement = _parts(with_params=with_params, with_values=is_any_ended, further=further)
    for first in range(0, len(rows), _IDS_AT_ONCE):
        some = rows[first : first + _IDS_AT_ONCE]
        parts: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for part in connection.execute(statement, {"ids": [row.trial_id for row in some]}):
            parts[part.trial_id][part.of].append(part)
        for row in some:
            yield row, _frozen(row, parts[row.trial_id], further)


@functools.cache
def _parts(*, with_params: bool, with_values: bool, further: tuple[str, ...]) -> Any:
    """One statement for the trials' rows in other tables: four would be four round trips.

    A row is (trial_id, of which table, step, name, number, text).
    """

    def of(table: Table, step: Any, name: Any, number: Any, text: Any) -> Any:
        columns: tuple[Any, ...] = (cast(step, Integer), cast(name, String), cast(number, Double), cast(text, String))
        labelled = (column.label(label) for column, label in zip(columns, _PART, strict=True))
        chosen = table.c.trial_id.in_(bindparam("ids", expanding=True))
        return select(table.c.trial_id, literal(table.name).label("of"), *labelled).where(chosen)

    curve, attributes = trial_intermediate_values.c, trial_system_attributes.c
    wanted = [
        of(trial_intermediate_values, curve.step, null(), curve.intermediate_value, curve.intermediate_value_type),
        of(trial_system_attributes, null(), attributes.key, null(), attributes.value_json),
    ]
    if with_params:
        params = trial_params.c
        wanted.append(of(trial_params, null(), params.param_name, params.param_value, params.distribution_json))
    if with_values:
        values = trial_values.c
        wanted.append(of(trial_values, values.objective, null(), values.value, values.value_type))
    for name in further:
        number = json_number(hpo_epochs.c.metrics, name)
        wanted.append(of(hpo_epochs, hpo_epochs.c.epoch, literal(name), number, null()))
    return union_all(*wanted)


def _frozen(row: Any, parts: Mapping[str, list[Any]], further: tuple[str, ...]) -> FrozenTrial:
    attributes = {a.name: json.loads(a.text) for a in parts["trial_system_attributes"]}
    if further:
        attributes[FURTHER] = _by_epoch(parts["hpo_epochs"], further)
    params, values = parts["trial_params"], parts["trial_values"]
    distributions = {p.name: _distribution(p.text) for p in params}
    # Not create_trial: its checks take as long as all the rest.
    return FrozenTrial(
        number=row.number,
        trial_id=row.number,
        state=TrialState[row.state],
        value=None,
        values=[_number(v.number, v.text) for v in sorted(values, key=lambda v: v.step)] or None,
        datetime_start=row.datetime_start,
        datetime_complete=row.datetime_complete,
        params={p.name: distributions[p.name].to_external_repr(p.number) for p in params},
        distributions=distributions,
        user_attrs={},
        system_attrs=attributes,
        intermediate_values={c.step: _number(c.number, c.text) for c in parts["trial_intermediate_values"]},
    )


def _by_epoch(rows: Sequence[Any], names: Sequence[str]) -> dict[int, tuple[float, ...]]:
    """The numbers of these names by epoch, where it has them all."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row.number is not None:
            found[row.step][row.name] = row.number
    return {
        epoch: tuple(its[name] for name in names) for epoch, its in found.items() if all(name in its for name in names)
    }


@functools.lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    """Ten thousand trials share a handful of distributions."""
    return json_to_distribution(text)


def _number(value: float | None, kind: str) -> float:
    return _INFINITE[kind] if value is None else value
