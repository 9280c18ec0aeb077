"""The doctor's findings about the database itself: its file or server, schema, clock, and unreadable rows."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psycopg
import pytest
from conftest import PostgresServer
from projects.locking import held_by_another_process
from projects.stored import PARAMS, add_trial
from projects.synthetic import create_study
from sqlalchemy import event, insert, select, text, update

from hpo.doctor import clock
from hpo.doctor.disk import free_space
from hpo.doctor.examination import examine, examine_database, repair
from hpo.doctor.finding import CheckContext, Finding
from hpo.doctor.machine import check_devices, check_packages
from hpo.doctor.sqlite import file_system
from hpo.queue.studies import StoredStudy
from hpo.store import Store
from hpo.store.engine import connect_sqlite
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import (
    hpo_epochs,
    hpo_studies,
    hpo_trials,
    studies,
    trial_intermediate_values,
    trial_params,
    trial_system_attributes,
    trial_user_attributes,
    trials,
)

NOWHERE = Path("/nowhere")


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    with Store.create(sqlite_url) as store:
        yield store


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[Store]:
    with Store.create(postgres_url) as store:
        yield store


def look(store: Store, subject: str) -> list[Finding]:
    return [found for found in examine(store.url, artifacts=NOWHERE) if found.about == subject]


def problems(store: Store) -> list[Finding]:
    return [found for found in examine_database(store.url) if found.level == "problem"]


def execute(store: Store, statement: str) -> None:
    with store.write() as connection:
        connection.exec_driver_sql(statement)


# ---- SQLite


@pytest.mark.parametrize(("first", "about"), [(20, "store"), (60, "integrity")], ids=["schema", "rows"])
def test_damaged_pages_are_found_and_nothing_is_changed_in_such_a_file(
    first: int, about: str, sqlite_store: Store
) -> None:
    study = create_study(sqlite_store)
    for _ in range(200):
        add_trial(sqlite_store, study)
    execute(sqlite_store, "DROP TRIGGER hpo_study_deleted")
    sqlite_store.close()
    path = sqlite_store.url.path
    content = bytearray(path.read_bytes())
    content[first * 4096 : (first + 4) * 4096] = os.urandom(4 * 4096)
    path.write_bytes(content)

    found = problems(sqlite_store)

    assert [finding.about for finding in found] == [about]
    assert "damaged" in found[0].what or "malformed" in found[0].what
    assert "hpo db restore" in found[0].remedy
    assert repair(sqlite_store.url, artifacts=NOWHERE) == []


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "hpo.db").write_text("notes\n" * 1000)

    [found] = [finding for finding in examine_database(url(tmp_path)) if finding.level == "problem"]

    assert "is not a SQLite database" in found.what


def url(folder: Path) -> Any:
    from hpo.store import StoreUrl

    return StoreUrl.parse("hpo.db", base=folder)


def test_rows_whose_study_is_gone_are_found(sqlite_store: Store) -> None:
    study = create_study(sqlite_store)
    add_trial(sqlite_store, study)
    execute(sqlite_store, "DROP TRIGGER hpo_trial_deleted")
    with closing(sqlite3.connect(sqlite_store.url.path)) as theirs:  # without foreign keys, as Optuna opens it
        theirs.execute("DELETE FROM trial_values")
        theirs.execute("DELETE FROM trial_params")
        theirs.execute("DELETE FROM trials")
        theirs.commit()

    [found] = look(sqlite_store, "integrity")

    assert (found.level, found.where) == ("problem", "hpo_trials")
    assert "deleted rows of trials have 1 row of hpo_trials left" in found.what
    assert "PRAGMA foreign_key_check(hpo_trials)" in found.remedy


def test_another_journal_mode_is_found_and_put_right(sqlite_store: Store) -> None:
    sqlite_store.close()
    with closing(connect_sqlite(sqlite_store.url.path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")

    [found] = look(sqlite_store, "journal")

    assert (found.level, found.what) == ("problem", "journal mode 'delete': readers and writers wait for each other")
    assert repair(sqlite_store.url, artifacts=NOWHERE) == ["journal mode is now WAL"]
    assert [finding.level for finding in look(sqlite_store, "journal")] == ["ok"]
    assert repair(sqlite_store.url, artifacts=NOWHERE) == []


def test_a_write_ahead_log_that_somebody_keeps_from_shrinking_is_noted(sqlite_store: Store) -> None:
    with closing(connect_sqlite(sqlite_store.url.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM studies").fetchone()
        with sqlite_store.write() as connection:
            # not in a table: pages of a dropped one are enough
            connection.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(70000000) AS content")

        [found] = look(sqlite_store, "journal")

    assert found.level == "note"
    assert "keeps a transaction open" in found.what


@pytest.mark.parametrize("lost", [["hpo_study_deleted"], ["hpo_study_deleted", "hpo_trial_deleted"]])
def test_missing_triggers_are_found_and_created_again(lost: list[str], sqlite_store: Store) -> None:
    for name in lost:
        execute(sqlite_store, f"DROP TRIGGER {name}")

    [found] = look(sqlite_store, "triggers")

    assert found.level == "problem"
    assert repair(sqlite_store.url, artifacts=NOWHERE) == [f"created {', '.join(lost)}"]
    assert [finding.level for finding in look(sqlite_store, "triggers")] == ["ok"]
    assert repair(sqlite_store.url, artifacts=NOWHERE) == []


@pytest.mark.parametrize(
    ("kind", "level"),
    [("nfs4", "problem"), ("cifs", "problem"), ("fuse.sshfs", "problem"), ("9p", "note"), ("ext4", "ok")],
)
def test_a_file_system_that_machines_share_is_found(kind: str, level: str) -> None:
    mounts = {"/": "ext4", "/data": kind, "/data/local": "xfs", "/database": "ext4"}

    assert file_system(Path("/data/runs"), mounts).level == level
    assert file_system(Path("/data/local/runs"), mounts).level == "ok"
    assert file_system(Path("/database"), mounts).level == "ok"
    assert file_system(Path("/home"), mounts).level == "ok"


def test_a_disk_that_is_nearly_full_is_found(tmp_path: Path) -> None:
    levels = [free_space(tmp_path, "the store", free).level for free in (2 * 2**30, 500 * 2**20, 50 * 2**20)]

    assert levels == ["ok", "note", "problem"]


# ---- PostgreSQL


def test_a_database_without_room_for_a_worker_is_found(postgres_store: Store, postgres: PostgresServer) -> None:
    database = postgres_store.engine.url.database
    postgres.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 3")

    found = {finding.where: finding for finding in look(postgres_store, "connections")}

    assert found["server"].level == "ok"
    assert found["database"].level == "problem"
    assert "of the 3 connections that this database allows are in use (hpo " in found["database"].what
    assert "a worker needs 2" in found["database"].remedy


def test_a_server_whose_connections_are_used_up_is_found(postgres_store: Store) -> None:
    address = f"{postgres_store.engine.url.set(drivername='postgresql').render_as_string(False)}&application_name=crowd"
    with ExitStack() as open_connections:
        for _ in range(86):
            open_connections.enter_context(psycopg.connect(address))
        [noted] = look(postgres_store, "connections")
        for _ in range(9):
            open_connections.enter_context(psycopg.connect(address))
        [found] = look(postgres_store, "connections")

    assert noted.level == "note"
    assert found.level == "problem"
    assert "of the 97 connections that the server allows are in use (crowd 95, hpo " in found.what


def test_a_database_that_takes_no_writes_is_found(postgres_store: Store, postgres: PostgresServer) -> None:
    database = postgres_store.engine.url.database
    postgres.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")

    [found] = look(postgres_store, "server")

    assert (found.level, found.what) == ("problem", "transactions are read-only by default here")


def test_another_time_zone_of_the_database_is_noted(postgres_store: Store, postgres: PostgresServer) -> None:
    database = postgres_store.engine.url.database
    postgres.execute(f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'")

    [found] = look(postgres_store, "time zone")

    assert found.level == "note"
    assert "Optuna's own scripts get the time zone Asia/Tokyo" in found.what


def test_sessions_that_are_not_in_utc_are_found(postgres_url: str) -> None:
    def as_a_pooler_would(connection: Any, _: object) -> None:
        connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        connection.commit()

    with Store.create(postgres_url) as store:
        store.engine.dispose()
        event.listen(store.engine, "connect", as_a_pooler_would)
        [found] = clock.check_session_zone(CheckContext(store, NOWHERE, "here"))

    assert found.level == "problem"
    assert "have the time zone Asia/Tokyo" in found.what


# ---- both: clock, schema


@pytest.mark.parametrize(
    ("ahead", "level", "words"), [(5, "note", "5.0 s ahead of"), (-90, "problem", "90.0 s behind")]
)
def test_a_clock_that_is_off_is_found(
    ahead: float, level: str, words: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: time.time() + ahead))

    [found] = look(store, "clock")

    assert found.level == level
    assert words[3:] in found.what
    assert float(found.what.split(" is ")[1].split(" s ")[0]) == pytest.approx(abs(ahead), abs=1)


@pytest.mark.parametrize(
    ("table", "revision", "words"),
    [
        ("hpo_alembic_version", "0000", "older schema"),
        ("hpo_alembic_version", "9999", "newer hpo-service"),
        ("alembic_version", "v3.0.0.d", "Optuna's older schema"),
        ("alembic_version", "v9.0.0.a", "newer Optuna"),
    ],
)
def test_another_schema_is_found_and_left_alone(table: str, revision: str, words: str, store: Store) -> None:
    execute(store, f"UPDATE {table} SET version_num = '{revision}'")

    [found] = problems(store)

    assert words in found.what
    assert repair(store.url, artifacts=NOWHERE) == []


@pytest.mark.parametrize(
    ("statement", "lost"),
    [("DROP TABLE hpo_epochs", "hpo_epochs"), ("ALTER TABLE hpo_trials DROP COLUMN request", "hpo_trials.request")],
)
def test_a_table_or_column_that_is_missing_is_found(statement: str, lost: str, store: Store) -> None:
    execute(store, statement)

    found = [finding.what for finding in problems(store)]

    assert f"{lost} is missing, although the store's schema revision includes it" in found


# ---- rows


def poison(store: Store, trial_id: int, kind: str) -> None:
    """Insert a row that makes others unreadable, or cannot be read itself."""
    statements = {
        "value": "UPDATE trial_values SET value = {nothing} WHERE trial_id = {id}",
        "infinite value": "UPDATE trial_values SET value = {infinity} WHERE trial_id = {id}",
        "no value": "DELETE FROM trial_values WHERE trial_id = {id}",
        "curve": "UPDATE trial_intermediate_values SET intermediate_value = NULL WHERE trial_id = {id}",
        "parameter": "UPDATE trial_params SET param_value = NULL WHERE trial_id = {id} AND param_name = 'depth'",
    }
    is_sqlite = store.url.is_sqlite
    nothing, infinity = ("NULL", "9e999") if is_sqlite else ("'NaN'", "'Infinity'")
    with store.write() as connection:
        curve = {"step": 1, "intermediate_value": 0.5, "intermediate_value_type": "FINITE"}
        connection.execute(insert(trial_intermediate_values).values(trial_id=trial_id, **curve))
        statement = statements[kind].format(id=trial_id, nothing=nothing, infinity=infinity)
        connection.exec_driver_sql(statement)


def read_by_optuna(store: Store) -> list[Any]:
    with optuna_storage(store.url) as storage:
        return optuna.load_study(study_name="synthetic", storage=storage).trials


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("value", "the value of trial 1 (COMPLETE) is not a number"),
        ("infinite value", "the value of trial 1 (COMPLETE) is not a number"),
        ("no value", "trial 1 is complete, but has no value"),
        ("curve", "step 1 in the curve of trial 1 is not a number"),
        ("parameter", "parameter depth of trial 1 is not a number"),
    ],
)
def test_an_invalid_number_is_found_and_the_remedy_makes_the_study_readable(
    kind: str, words: str, store: Store, study: StoredStudy
) -> None:
    ids = [add_trial(store, study) for _ in range(3)]
    poison(store, ids[1], kind)

    [found] = problems(store)

    assert words in found.what
    assert found.where == "synthetic"
    assert repair(store.url, artifacts=NOWHERE) == []
    for statement in found.remedy.partition("then: ")[2].split("; "):
        execute(store, statement)
    assert problems(store) == []
    assert len(read_by_optuna(store)) == 3


def test_a_nan_that_is_stored_as_a_value_really_stops_optuna(sqlite_store: Store) -> None:
    study = create_study(sqlite_store)
    poison(sqlite_store, add_trial(sqlite_store, study), "value")

    with pytest.raises(AssertionError):
        read_by_optuna(sqlite_store)


def test_text_in_a_column_of_numbers_and_unknown_states_are_found(sqlite_store: Store) -> None:
    study = create_study(sqlite_store)
    first, second, third = (add_trial(sqlite_store, study) for _ in range(3))
    execute(sqlite_store, f"UPDATE trial_values SET value = 'good' WHERE trial_id = {first}")
    execute(sqlite_store, f"UPDATE trials SET state = 'DONE' WHERE trial_id = {second}")
    execute(sqlite_store, f"UPDATE trial_values SET value_type = 'HUGE' WHERE trial_id = {third}")

    found = " ".join(finding.what for finding in problems(sqlite_store))

    assert "the value of trial 0 (COMPLETE) is not a number (stored as good, FINITE)" in found
    assert "trial 1 has the state 'DONE'" in found
    assert "the value of trial 2 (COMPLETE) is not a number" in found


def test_infinite_values_as_optuna_stores_them_are_no_problem(store: Store, study: StoredStudy) -> None:
    add_trial(store, study)
    execute(store, "UPDATE trial_values SET value = NULL, value_type = 'INF_NEG'")
    with store.write() as connection:
        curve = {"step": 1, "intermediate_value": None, "intermediate_value_type": "NAN"}
        connection.execute(insert(trial_intermediate_values).values(trial_id=1, **curve))

    assert problems(store) == []
    assert len(read_by_optuna(store)) == 1


def plant_json(store: Store, study: StoredStudy, where: str) -> None:
    trial_id = add_trial(store, study)
    attribute = {"trial_id": trial_id, "key": "note", "value_json": '{"cut": '}
    with store.write() as connection:
        if where == "trial_user_attributes.value_json":
            connection.execute(insert(trial_user_attributes).values(attribute))
        elif where == "trial_system_attributes.value_json":
            connection.execute(insert(trial_system_attributes).values(attribute))
        elif where == "hpo_trials.config":
            connection.execute(update(hpo_trials).values(config='{"lr": NaN}'))
        elif where == "hpo_epochs.metrics":
            row = {"trial_id": trial_id, "epoch": 1, "attempt": 1, "metrics": "", "seconds": 1.0}
            connection.execute(insert(hpo_epochs).values(row))
        else:
            connection.execute(update(hpo_studies).values(limits="{"))


@pytest.mark.parametrize(
    "where",
    [
        "trial_user_attributes.value_json",
        "trial_system_attributes.value_json",
        "hpo_trials.config",
        "hpo_epochs.metrics",
        "hpo_studies.limits",
    ],
)
def test_json_that_cannot_be_read_is_found(where: str, store: Store, study: StoredStudy) -> None:
    plant_json(store, study, where)

    [found] = problems(store)

    assert found.where == where
    assert f"not valid JSON: 1 row of {where}" in found.what


@pytest.mark.parametrize(
    ("name", "distribution", "value", "words"),
    [
        ("optimizer", '{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd"]}}', 2.0, "of 2:"),
        (
            "optimizer",
            '{"name": "CategoricalDistribution", "attributes": {"choices": ["lion"]}}',
            0.0,
            "was chosen from",
        ),
        ("depth", '{"name": "IntDistr', 2.0, "the range of parameter depth of trial 1 cannot be read"),
    ],
)
def test_parameters_that_cannot_be_read_are_found(
    name: str, distribution: str, value: float, words: str, store: Store, study: StoredStudy
) -> None:
    add_trial(store, study)
    trial_id = add_trial(store, study)
    with store.write() as connection:
        mine = (trial_params.c.trial_id == trial_id) & (trial_params.c.param_name == name)
        changed = {"distribution_json": distribution, "param_value": value}
        connection.execute(update(trial_params).where(mine).values(changed))

    found = [finding.what for finding in problems(store)]

    assert any(words in what for what in found), found


# ---- studies


def test_a_study_file_that_this_version_cannot_read_is_found(store: Store, study: StoredStudy) -> None:
    spec = json.loads(study.resolved.to_json())
    spec["spec"]["from_the_future"] = True
    with store.write() as connection:
        connection.execute(update(hpo_studies).values(spec=json.dumps(spec)))

    [found] = problems(store)

    assert (found.about, found.where) == ("studies", "synthetic")
    assert "cannot be read by this version" in found.what


def test_choices_that_the_study_searches_no_more_are_found(store: Store, study: StoredStudy) -> None:
    add_trial(store, study)
    with store.write() as connection:
        space = connection.scalar(select(hpo_studies.c.space))
        connection.execute(update(hpo_studies).values(space=str(space).replace('"sgd"', '"lion"')))

    found = [finding.what for finding in problems(store)]

    assert "trials chose optimizer from ['adam', 'sgd'], but the study searches ['adam', 'lion']" in found


def test_points_outside_of_the_space_are_found(store: Store, study: StoredStudy) -> None:
    with optuna_storage(store.url) as storage:
        waiting = optuna.load_study(study_name="synthetic", storage=storage)
        waiting.enqueue_trial({"depth": 3})
        waiting.enqueue_trial({"optimizer": "lion"})
    add_trial(store, study, state="RUNNING", config={"params": PARAMS | {"depth": 9}})

    found = [finding.what for finding in problems(store)]

    assert len(found) == 2
    assert "waiting trial 1 has a point that the study does not search: 'optimizer': 'lion' is not" in found[0]
    assert "running trial 2 has a point that the study does not search: 'depth': 9" in found[1]


# ---- this machine


def plant_package(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_package_that_is_too_old_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_package(tmp_path, "optuna", "4.9.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    wrong, shown = check_packages()

    assert (wrong.level, wrong.what) == ("problem", "optuna 4.9.0 is installed, <6,>=5 is needed")
    assert wrong.remedy == "pip install 'optuna<6,>=5'"
    assert "optuna 4.9.0" in shown.what


def test_packages_that_are_not_installed_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_package(tmp_path, "hpo_service", "0.1.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    found = {finding.where: finding.level for finding in check_packages()}

    assert found["torch"] == "problem"
    assert "psycopg" not in found  # only PostgreSQL needs it


def test_gpus_are_listed_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "nvidia-smi"
    lines = "".join(f"GPU {number}: NVIDIA T4 (UUID: GPU-test-{number})\\n" for number in (0, 1))
    script.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = [finding for finding in check_devices() if finding.about == "GPUs"]
    script.write_text("#!/bin/sh\nexit 9\n")
    unseen = [finding for finding in check_devices() if finding.about == "GPUs"]

    assert [(found.level, found.what) for found in seen] == [("ok", "2: 0, 1 (NVIDIA T4)")]
    assert [found.level for found in unseen] == ["note"]


def test_gpus_that_a_worker_uses_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-of-the-doctor")
    with held_by_another_process("GPU-of-the-doctor"):
        [devices, gpus] = check_devices()

    assert (devices.level, gpus.level) == ("ok", "ok")
    assert devices.what.endswith("; 1 slot by default, on GPU")


def test_findings_name_the_studies(store: Store, study: StoredStudy) -> None:
    add_trial(store, study)
    with store.read() as connection:
        assert connection.scalar(select(studies.c.study_name)) == "synthetic"
        assert connection.scalar(text("SELECT count(*) FROM trials")) == 1

    assert [found.what for found in look(store, "rows")] == ["all rows of 1 trial can be read"]
    assert [found.what for found in look(store, "studies")] == ["1 study of hpo-service, all readable"]
    with store.read() as connection:
        assert connection.scalars(select(trials.c.state)).all() == ["COMPLETE"]
