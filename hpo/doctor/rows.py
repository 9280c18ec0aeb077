"""Rows that cannot be read, or that make a whole study unreadable: Optuna and our verbs load it as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Column, Connection, String, cast, func, or_, select

from hpo.doctor.finding import CheckContext, Finding, listed
from hpo.printable import counted
from hpo.store.tables import (
    hpo_epochs,
    hpo_findings,
    hpo_studies,
    hpo_trials,
    studies,
    study_directions,
    study_system_attributes,
    study_user_attributes,
    trial_intermediate_values,
    trial_params,
    trial_system_attributes,
    trial_user_attributes,
    trial_values,
    trials,
)
from hpo.study.states import OptunaState

LARGEST = 1.7976931348623157e308
_FAIL = f"UPDATE trials SET state = '{OptunaState.FAIL}' WHERE trial_id = ID"  # noqa: S608 (a constant)
_NO_VALUE = f"DELETE FROM trial_values WHERE trial_id = ID; {_FAIL}"  # noqa: S608
_NO_NUMBER = (
    "UPDATE trial_intermediate_values SET intermediate_value = NULL, intermediate_value_type = 'NAN' "
    "WHERE trial_id = ID"
)

_JSON_COLUMNS = (
    study_user_attributes.c.value_json,
    study_system_attributes.c.value_json,
    trial_user_attributes.c.value_json,
    trial_system_attributes.c.value_json,
    hpo_studies.c.spec,
    hpo_studies.c.space,
    hpo_studies.c.limits,
    hpo_epochs.c.metrics,
    hpo_trials.c.provenance,
    hpo_findings.c.content,
)
# what `--json` prints, where NaN is not allowed
_STRICT_JSON_COLUMNS = (hpo_trials.c.config,)


def check_rows(context: CheckContext) -> Iterator[Finding]:
    """States, values, curves, parameters and JSON, a table at a time."""
    is_well = True
    with context.store.read() as connection:
        for check in (_states, _values, _curves, _parameters, _json):
            for finding in check(connection):
                is_well = False
                yield finding
        count = connection.scalar(select(func.count()).select_from(trials)) or 0
    if is_well:
        yield Finding("ok", "rows", f"all rows of {counted(count or 0, 'trial')} can be read")


def _states(connection: Connection) -> Iterator[Finding]:
    state = cast(trials.c.state, String)
    for row in connection.execute(_named(trials, state.label("state")).where(state.not_in(list(OptunaState)))):
        yield Finding(
            "problem",
            "rows",
            f"{row.where} has the state '{row.state}', which Optuna does not know",
            row.study_name,
            _by_hand(_FAIL, row.trial_id),
        )


def _values(connection: Connection) -> Iterator[Finding]:
    kind = cast(trial_values.c.value_type, String)
    columns = (trial_values.c.value, kind.label("kind"), cast(trials.c.state, String).label("state"))
    query = _named(trial_values, *columns).where(_is_poison(connection, trial_values.c.value, kind, infinite=True))
    for row in connection.execute(query):
        yield Finding(
            "problem",
            "rows",
            f"the value of {row.where} ({row.state}) is not a number (stored as {row.value}, {row.kind}): "
            "Optuna cannot read the study",
            row.study_name,
            _by_hand(_NO_VALUE, row.trial_id),
        )
    objectives = select(func.count()).where(study_directions.c.study_id == trials.c.study_id).scalar_subquery()
    stored = select(func.count()).where(trial_values.c.trial_id == trials.c.trial_id).scalar_subquery()
    is_complete = cast(trials.c.state, String) == OptunaState.COMPLETE
    for row in connection.execute(_named(trials).where(is_complete, stored < objectives)):
        yield Finding(
            "problem",
            "rows",
            f"{row.where} is complete, but has no value: Optuna cannot determine the best trial",
            row.study_name,
            _by_hand(_FAIL, row.trial_id),
        )


def _curves(connection: Connection) -> Iterator[Finding]:
    table = trial_intermediate_values
    kind = cast(table.c.intermediate_value_type, String)
    query = _named(table, table.c.step).where(_is_poison(connection, table.c.intermediate_value, kind, infinite=False))
    for row in connection.execute(query):
        yield Finding(
            "problem",
            "rows",
            f"step {row.step} in the curve of {row.where} is not a number: Optuna cannot read the study",
            row.study_name,
            _by_hand(f"{_NO_NUMBER} AND step = {row.step}", row.trial_id),
        )


def _parameters(connection: Connection) -> Iterator[Finding]:
    columns = (trial_params.c.param_name, trial_params.c.param_value)
    query = _named(trial_params, *columns).where(_is_no_number(connection, trial_params.c.param_value))
    for row in connection.execute(query):
        message = f"parameter {row.param_name} of {row.where} is not a number: {row.param_value}"
        yield Finding(
            "problem",
            "rows",
            message,
            row.study_name,
            _by_hand("DELETE FROM trial_params WHERE trial_id = ID", row.trial_id),
        )
    # a study has few different distributions, so these are parsed, not the rows
    kinds = connection.execute(
        select(
            trials.c.study_id,
            studies.c.study_name,
            trial_params.c.param_name,
            trial_params.c.distribution_json,
            func.min(trial_params.c.param_value).label("least"),
            func.max(trial_params.c.param_value).label("most"),
            func.min(trials.c.number).label("number"),
        )
        .join(trials, trials.c.trial_id == trial_params.c.trial_id)
        .join(studies, studies.c.study_id == trials.c.study_id)
        .group_by(trials.c.study_id, studies.c.study_name, *trial_params.c["param_name", "distribution_json"])
        .order_by(trials.c.study_id, trial_params.c.param_name, func.min(trials.c.number))
    )
    choices: dict[tuple[int, str], Any] = {}
    for row in kinds:
        where = f"parameter {row.param_name} of trial {row.number}"
        try:
            plain = json.loads(row.distribution_json)
            name, mine = plain["name"], plain["attributes"].get("choices")
        except (ValueError, TypeError, KeyError, AttributeError):
            message = f"the range of {where} cannot be read: {str(row.distribution_json)[:60]}"
            yield Finding("problem", "rows", message, row.study_name, _restore())
            continue
        if name != "CategoricalDistribution":
            continue
        known = choices.setdefault((row.study_id, row.param_name), mine)
        if mine != known:
            message = (
                f"{where} was chosen from {mine}, earlier ones from {known}: Optuna's samplers refuse such a study"
            )
            yield Finding("problem", "rows", message, row.study_name, "begin another study with --name")
        elif not _are_positions(row.least, row.most, len(mine)):
            message = f"{where} or a later one is choice number {row.most:g}, of {len(mine)}: {mine}"
            yield Finding("problem", "rows", message, row.study_name, _restore())


def _json(connection: Connection) -> Iterator[Finding]:
    for column in (*_JSON_COLUMNS, *_STRICT_JSON_COLUMNS):
        parse: Callable[[str], Any] = _strictly if column in _STRICT_JSON_COLUMNS else json.loads
        bad = []
        # 1,000 rows at a time: a store can have millions of epochs
        for rows in connection.execution_options(yield_per=1000).execute(_keyed(column)).partitions():
            for *key, content in rows:
                try:
                    parse(content)
                except (ValueError, TypeError, RecursionError):
                    bad.append(" ".join(str(part) for part in key))
        if bad:
            keys = ", ".join(key.name for key in column.table.primary_key.columns)
            where = f"{column.table.name}.{column.name}"
            message = f"not valid JSON: {counted(len(bad), 'row')} of {where} ({keys}: {listed(bad)})"
            yield Finding("problem", "rows", message, where, _restore())


def _keyed(column: Column[Any]) -> Any:
    return select(*column.table.primary_key.columns, column).where(column.is_not(None))


def _strictly(content: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(content, parse_constant=refuse)


def _named(table: Any, *columns: Any) -> Any:
    """A query for rows of trials, each with its study's name and `where`: 'trial 3'."""
    query = select(
        trials.c.trial_id,
        studies.c.study_name,
        (cast("trial ", String) + cast(trials.c.number, String)).label("where"),
        *columns,
    ).select_from(trials)
    if table is not trials:
        query = query.join(table, table.c.trial_id == trials.c.trial_id)
    return query.join(studies, studies.c.study_id == trials.c.study_id).order_by(studies.c.study_id, trials.c.number)


def _is_poison(connection: Connection, value: Any, kind: Any, *, infinite: bool) -> Any:
    """A value that is not a number although its type is FINITE, or is set although its type is not, or a wrong type."""
    types = ("FINITE", "INF_POS", "INF_NEG") if infinite else ("FINITE", "INF_POS", "INF_NEG", "NAN")
    return or_(
        kind.not_in(types),
        (kind == "FINITE") & _is_no_number(connection, value),
        (kind != "FINITE") & value.is_not(None),
    )


def _is_no_number(connection: Connection, value: Any) -> Any:
    found = or_(value.is_(None), ~value.between(-LARGEST, LARGEST))
    if connection.dialect.name == "sqlite":
        # which stores anything in any column
        found = or_(found, func.typeof(value).not_in(["real", "integer"]))
    return found


def _are_positions(least: Any, most: Any, count: int) -> bool:
    if not all(isinstance(number, int | float) for number in (least, most)):
        return True  # reported already, as not a number
    return bool(least >= 0 and most < count and least == int(least) and most == int(most))


def _restore() -> str:
    return "restore a backup (hpo db restore FILE --force)"


def _by_hand(statements: str, trial_id: int) -> str:
    return f"make a backup (hpo db backup FILE), then: {statements.replace('ID', str(trial_id))}"
