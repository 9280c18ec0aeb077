"""Our description of Optuna's tables matches Optuna's own, and Optuna reads the rows that we write."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from sqlalchemy import insert, select

from hpo.store import Store, tables
from hpo.store.clock import db_now
from hpo.store.optuna_storage import optuna_storage


@contextmanager
def foreign_storage(store: Store) -> Iterator[RDBStorage]:
    """A storage as somebody else's script opens it: without our settings."""
    storage = RDBStorage(store.url.reveal())
    yield storage
    storage.remove_session()
    storage.engine.dispose()


@contextmanager
def own_storage(store: Store) -> Iterator[RDBStorage]:
    with optuna_storage(store.url) as storage:
        yield storage


def described(table: sa.Table, dialect: sa.Dialect) -> dict[str, Any]:
    columns = {
        column.name: (
            column.type.compile(dialect),
            sorted(column.type.enums) if isinstance(column.type, sa.Enum) else None,
            column.nullable,
            column.primary_key,
            sorted(key.target_fullname for key in column.foreign_keys),
        )
        for column in table.columns
    }
    unique = {
        tuple(constraint.columns.keys())
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    }
    indexes = {(index.name, index.unique, *index.columns.keys()) for index in table.indexes}
    return {"columns": columns, "unique": unique, "indexes": indexes}


@pytest.mark.parametrize("name", sorted(tables.optuna_metadata.tables))
def test_our_description_of_a_table_is_that_of_optuna(name: str, store: Store) -> None:
    ours = tables.optuna_metadata.tables[name]
    theirs = BaseModel.metadata.tables[name]

    assert described(ours, store.engine.dialect) == described(theirs, store.engine.dialect)
    found = sa.inspect(store.engine).get_columns(name)
    assert [column["name"] for column in found] == ours.columns.keys()


def inserted_number(result: sa.CursorResult[Any]) -> int:
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def insert_study(connection: sa.Connection, name: str = "ours") -> int:
    study_id = inserted_number(connection.execute(insert(tables.studies).values(study_name=name)))
    connection.execute(
        insert(tables.study_directions).values(study_id=study_id, objective=0, direction="MAXIMIZE"),
    )
    connection.execute(
        insert(tables.hpo_studies).values(study_id=study_id, spec="{}", space="[]", trials_target=5, created=db_now()),
    )
    return study_id


def insert_trial(connection: sa.Connection, study_id: int, number: int = 0) -> int:
    start = datetime.datetime(2024, 1, 2, 3, 4, 5)
    row = connection.execute(
        insert(tables.trials).values(
            study_id=study_id, number=number, state="COMPLETE", datetime_start=start, datetime_complete=start
        ),
    )
    trial_id = inserted_number(row)
    distribution = distribution_to_json(FloatDistribution(0.0, 1.0))
    rows: list[tuple[sa.Table, dict[str, Any]]] = [
        (tables.trial_params, {"param_name": "lr", "param_value": 0.25, "distribution_json": distribution}),
        (tables.trial_values, {"objective": 0, "value": None, "value_type": "INF_NEG"}),
        (tables.trial_intermediate_values, {"step": 1, "intermediate_value_type": "NAN"}),
        (
            tables.trial_intermediate_values,
            {"step": 2, "intermediate_value": 0.5, "intermediate_value_type": "FINITE"},
        ),
        (tables.trial_user_attributes, {"key": "note", "value_json": json.dumps("hello")}),
        (tables.trial_system_attributes, {"key": "rung", "value_json": json.dumps([1])}),
    ]
    for table, values in rows:
        connection.execute(insert(table).values(trial_id=trial_id, **values))
    return trial_id


def test_optuna_reads_our_rows(store: Store) -> None:
    with store.write() as connection:
        insert_trial(connection, insert_study(connection))

    with foreign_storage(store) as storage:
        study = optuna.load_study(study_name="ours", storage=storage)
        (trial,) = study.get_trials()

    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert trial.state == TrialState.COMPLETE
    assert trial.value == float("-inf")
    assert trial.params == {"lr": 0.25}
    assert str(trial.intermediate_values) == "{1: nan, 2: 0.5}"
    assert trial.user_attrs == {"note": "hello"}
    assert trial.datetime_start is not None
    naive_utc = trial.datetime_start.astimezone(datetime.UTC).replace(tzinfo=None)
    assert naive_utc == datetime.datetime(2024, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("opened", [foreign_storage, own_storage])
def test_we_read_the_rows_of_optuna(store: Store, opened: Callable[[Store], Any]) -> None:
    with opened(store) as storage:
        study = optuna.create_study(study_name="theirs", storage=storage, directions=["minimize"])
        study.set_user_attr("owner", "them")
        trial = study.ask()
        trial.suggest_int("depth", 3, 3)
        trial.report(float("inf"), step=1)
        trial.set_user_attr("note", 1)
        study.tell(trial, 2.5)
        study.enqueue_trial({"depth": 3})

    with store.read() as connection:

        def column(name: sa.Column[Any]) -> list[Any]:
            return list(connection.scalars(select(name).order_by(*name.table.primary_key)))

        assert column(tables.study_directions.c.direction) == ["MINIMIZE"]
        assert column(tables.study_user_attributes.c.value_json) == ['"them"']
        assert column(tables.trials.c.state) == ["COMPLETE", "WAITING"]
        assert column(tables.trial_params.c.param_value) == [3.0]
        assert column(tables.trial_values.c.value) == [2.5]
        assert column(tables.trial_intermediate_values.c.intermediate_value_type) == ["INF_POS"]
        started = column(tables.trials.c.datetime_start)[0]
    assert abs(datetime.datetime.now(datetime.UTC) - started.replace(tzinfo=datetime.UTC)).seconds < 60


def fill(store: Store, name: str) -> None:
    """A study with two trials and a row of ours in every table."""
    with store.write() as connection:
        study_id = insert_study(connection, name)
        row = insert(tables.hpo_workers).values(host="h", pid=1, slots=2, started=db_now(), beat=db_now())
        worker = inserted_number(connection.execute(row))
        for number in range(2):
            trial_id = insert_trial(connection, study_id, number)
            connection.execute(
                insert(tables.hpo_attempts).values(
                    trial_id=trial_id, number=1, worker_id=worker, slot=0, started=db_now(), lease_until=1.0
                ),
            )
            connection.execute(
                insert(tables.hpo_epochs).values(trial_id=trial_id, epoch=1, attempt=1, metrics="{}", seconds=0.1),
            )
            connection.execute(insert(tables.hpo_trials).values(trial_id=trial_id, seed=2**62))
        connection.execute(
            insert(tables.hpo_findings).values(study_id=study_id, kind="final", created=db_now(), content="{}")
        )
        connection.execute(
            insert(tables.hpo_notifications).values(
                study_id=study_id, event="finished", occasion="", content="{}", created=db_now()
            )
        )


def counted(store: Store) -> dict[str, int]:
    with store.read() as connection:
        numbers = {
            name: connection.scalar(select(sa.func.count()).select_from(table)) or 0
            for name, table in tables.hpo_metadata.tables.items()
        }
    return {name: number for name, number in numbers.items() if number}


@pytest.mark.parametrize("opened", [foreign_storage, own_storage])
def test_deleting_a_study_through_optuna_deletes_our_rows_of_it(store: Store, opened: Callable[[Store], Any]) -> None:
    fill(store, "kept")
    fill(store, "deleted")

    with opened(store) as storage:
        optuna.delete_study(study_name="deleted", storage=storage)

    assert counted(store) == {
        "hpo_studies": 1,
        "hpo_workers": 2,
        "hpo_attempts": 2,
        "hpo_epochs": 2,
        "hpo_trials": 2,
        "hpo_findings": 1,
        "hpo_notifications": 1,
    }
    fill(store, "next")  # on SQLite it gets the numbers of the deleted one


def test_a_new_study_runs_with_the_usual_priority(store: Store) -> None:
    with store.write() as connection:
        insert_study(connection)

    with store.read() as connection:
        row = connection.execute(select(tables.hpo_studies)).one()
    assert (row.state, row.state_reason, row.priority) == ("running", None, 1.0)


def test_the_number_of_an_attempt_is_never_given_twice(store: Store) -> None:
    def attempts() -> list[int]:
        with store.read() as connection:
            return list(connection.scalars(select(tables.hpo_attempts.c.attempt_id)))

    fill(store, "one")
    before = attempts()
    with own_storage(store) as storage:
        optuna.delete_study(study_name="one", storage=storage)
    fill(store, "two")

    assert not set(before) & set(attempts())
