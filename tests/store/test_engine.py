"""Opening a database: the same transactions on both, the clock, and errors that a user can act on."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import PASSWORD, PostgresServer
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError

from hpo.errors import StoreError
from hpo.store import Store, StoreUrl
from hpo.store.clock import db_now
from hpo.store.engine import open_engine
from hpo.store.schema import schema_lock
from hpo.store.tables import studies

WRONG = "wr0ng{word"


def test_a_write_is_committed_and_a_failed_one_undone(store: Store) -> None:
    with store.write() as connection:
        connection.execute(insert(studies).values(study_name="kept"))
    with suppress(ZeroDivisionError), store.write() as connection:
        connection.execute(insert(studies).values(study_name="undone"))
        raise ZeroDivisionError

    with store.read() as connection:
        assert connection.scalars(select(studies.c.study_name)).all() == ["kept"]


def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(DBAPIError), store.read() as connection:
        connection.execute(insert(studies).values(study_name="no"))

    with store.write() as connection:
        connection.execute(insert(studies).values(study_name="yes"))


def test_a_read_sees_one_snapshot(store: Store) -> None:
    with store.read() as reader:
        before = reader.scalars(select(studies.c.study_name)).all()
        with store.write() as writer:
            writer.execute(insert(studies).values(study_name="new"))
        during = reader.scalars(select(studies.c.study_name)).all()

    assert before == during == []


def test_a_write_on_sqlite_excludes_other_writers_from_its_start(sqlite_url: str) -> None:
    with Store.create(sqlite_url) as one, Store.open(sqlite_url) as other:
        with other.read() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 1")
        with one.write(), pytest.raises(DBAPIError, match="locked"), other.write():
            pass


def test_sqlite_is_opened_for_many_processes(sqlite_url: str) -> None:
    expected = {"journal_mode": "wal", "busy_timeout": 60_000, "synchronous": 1, "foreign_keys": 1}

    with Store.create(sqlite_url) as store, store.read() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected}

    assert found == expected


def test_postgresql_sessions_live_in_utc(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")

    with Store.create(f"{postgres_url}&options=-cwork_mem%3D5MB") as store, store.read() as connection:
        assert connection.exec_driver_sql("SHOW timezone").scalar() == "UTC"
        assert connection.exec_driver_sql("SHOW work_mem").scalar() == "5MB"
        assert connection.exec_driver_sql("SHOW application_name").scalar() == "hpo"


def test_nothing_is_prepared_on_a_postgresql_session_that_a_pooler_may_give_to_others(postgres_url: str) -> None:
    """Behind PgBouncer in transaction mode: DuplicatePreparedStatement."""
    with Store.create(postgres_url) as store:
        for first in range(0, 20, 2):
            with store.write() as connection:
                rows = [{"study_name": f"study {number}"} for number in (first, first + 1)]
                connection.execute(insert(studies), rows)
                connection.execute(select(studies.c.study_name))
                prepared = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar()

            assert prepared == 0


def test_the_lock_on_a_schema_ends_with_a_transaction_so_that_a_pooler_cannot_lose_it(postgres_url: str) -> None:
    url = StoreUrl.parse(postgres_url)
    holder = (
        "SELECT state FROM pg_stat_activity JOIN pg_locks USING (pid) "
        "WHERE locktype = 'advisory' AND datname = current_database()"
    )
    with Store.create(postgres_url) as store, schema_lock(store.engine, url), store.read() as connection:
        states = connection.exec_driver_sql(holder).scalars().all()

    assert states == ["idle in transaction"]


def test_the_databases_clock_counts_seconds_since_1970(store: Store) -> None:
    before = time.time()
    with store.read() as connection:
        first = connection.scalars(select(db_now())).one()
        time.sleep(0.02)
        second = connection.scalars(select(db_now())).one()
    after = time.time()

    assert isinstance(first, float)
    assert before - 0.01 < first < second - 0.01 < after  # a database rounds


def test_a_sqlite_path_that_cannot_be_a_store_is_explained(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, not a database\n" * 100)

    for name, words in [
        (".", "is a folder"),
        ("absent/hpo.db", "absent is not a folder"),
        ("notes.txt/hpo.db", "notes.txt is not a folder"),
        ("notes.txt", "is not a SQLite database"),
    ]:
        for verb in (Store.create, Store.open):
            with pytest.raises(StoreError, match=words):
                verb(name, base=tmp_path)
    with pytest.raises(StoreError, match=r"/proc/hpo\.db cannot be created"):
        Store.create("/proc/hpo.db")


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder that nobody may write during the test, not even root, who becomes nobody."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    with Store.create(f"sqlite:///{folder}/hpo.db"):
        pass
    folder.chmod(0o755 if user == 0 else 0o555)
    (folder / "hpo.db").chmod(0o444)
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hpo.db", "Check that you may write the file and its folder"),
        ("new.db", "you have no permission to write"),
    ],
)
def test_a_store_that_may_not_be_written_is_explained(name: str, words: str, unprivileged_folder: Path) -> None:
    with pytest.raises(StoreError, match=words):
        Store.create(name, base=unprivileged_folder)


def test_without_psycopg_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(StoreError, match=r"pip install 'hpo-service\[postgres\]'"):
        Store.open("postgresql://me@db/runs")


def test_the_right_password_opens_the_store(postgres: PostgresServer, postgres_url: str) -> None:
    database = postgres_url.partition("@/")[2]

    with Store.create(f"postgresql://guarded:{PASSWORD}@/{database}") as store:
        shown = f"{store} {store.url} {store.engine!r} {store.engine.url}"

    assert PASSWORD not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/postgres?host={socket}", "password authentication failed"),
        ("127.0.0.1:1/postgres", "on 127.0.0.1, port 1"),
        ("no-such-host.invalid/postgres", "on no-such-host.invalid, port 5432"),
        ("127.0.0.1:99999/postgres", "port"),
        ("/postgres?host={socket}&sslmode=perhaps", "sslmode"),
        ("/postgres?host={socket}&nonsense=1", "nonsense"),
        ("localhost..a/postgres", "localhost..a"),
    ],
)
def test_a_database_that_cannot_be_reached_is_explained_without_the_password(
    place: str, words: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    text = f"postgresql://guarded:{WRONG}@{place.format(socket=postgres.socket)}"

    with pytest.raises(StoreError) as caught:
        open_engine(StoreUrl.parse(text))

    assert words in str(caught.value)
    assert "check that the server runs" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert WRONG not in str(error)
        assert WRONG not in repr(error)
        error = error.__cause__ or error.__context__
    assert WRONG not in caplog.text


def test_a_missing_database_is_named(postgres: PostgresServer) -> None:
    with pytest.raises(StoreError, match='database "absent" does not exist'):
        Store.open(postgres.url("absent"))


def test_missing_rights_are_explained(postgres: PostgresServer, postgres_url: str) -> None:
    visitor = postgres_url.replace("postgres@", "visitor@")

    with pytest.raises(StoreError, match=r"permission denied.*name, password and privileges"):
        Store.create(visitor)
