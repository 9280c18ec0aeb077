"""Backups: of a store that is being written, checked, refused when they are none, and put back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from conftest import PASSWORD, PostgresServer
from projects.stored import add_attempt, add_trial, add_worker
from projects.synthetic import create_study
from sqlalchemy import func, select, update

from hpo.doctor.examination import examine_database
from hpo.errors import StoreError
from hpo.results.study import Study
from hpo.store import Store, StoreUrl
from hpo.store.backup import Contents, back_up, restore
from hpo.store.engine import connect_sqlite
from hpo.store.tables import hpo_trials, hpo_workers, trial_values, trials

pytestmark = pytest.mark.usefixtures("client_programs")


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with five complete trials."""
    fill(store)
    return store


def fill(store: Store) -> None:
    study = create_study(store)
    for number in range(5):
        add_trial(store, study, value=float(number))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "copy.backup"


def counts(store: Store) -> dict[str, int | None]:
    with store.read() as connection:
        tables = (trials, trial_values, hpo_trials)
        return {table.name: connection.scalar(select(func.count()).select_from(table)) for table in tables}


def values(store: Store) -> list[float | None]:
    return [record.value for record in Study(store, "synthetic").trials()]


def left_beside(file: Path) -> list[str]:
    return [path.name for path in file.parent.iterdir() if path.name.startswith(".") or "partial" in path.name]


# ---- there and back


def test_a_backup_fills_an_empty_store(new_store_url: Callable[[], str], file: Path) -> None:
    target = StoreUrl.parse(new_store_url())
    with Store.create(new_store_url()) as source:
        fill(source)
        made = back_up(source.url, file)

    contents, moved = restore(target, file)

    assert made == contents == Contents(file, 1, 5)
    assert moved is None
    with Store.open(target) as store:
        assert values(store) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert {finding.level for finding in examine_database(target)} == {"ok"}
        add_trial(store, 1, value=5.0)  # and goes on
    assert left_beside(file) == []
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_restored_file_is_in_write_ahead_mode_and_has_the_usual_rights(sqlite_url: str, file: Path) -> None:
    with Store.create(sqlite_url) as store:
        back_up(store.url, file)
    target = StoreUrl.parse("new.db", base=file.parent)

    restore(target, file)

    with closing(connect_sqlite(target.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    mask = os.umask(0)
    os.umask(mask)
    assert target.path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_open_connections_see_the_restored_store(filled: Store, file: Path) -> None:
    back_up(filled.url, file)
    add_trial(filled, 1, value=99.0)

    restore(filled.url, file, force=True)

    assert values(filled) == [0.0, 1.0, 2.0, 3.0, 4.0]


# ---- refusals


def test_a_file_that_is_there_is_kept_unless_forced(filled: Store, file: Path) -> None:
    file.write_text("precious")

    with pytest.raises(StoreError, match="exists already: name another file, or replace it with --force"):
        back_up(filled.url, file)
    assert file.read_text() == "precious"
    assert back_up(filled.url, file, force=True).trials == 5
    assert left_beside(file) == []


def test_a_backup_into_a_place_that_cannot_be_is_explained(filled: Store, tmp_path: Path) -> None:
    for path, words in [
        (tmp_path, "is a folder: name a file in it"),
        (tmp_path / "absent" / "file", "absent is not a folder; create it first"),
        (Path("/proc/backup"), "/proc/backup cannot be written"),
    ]:
        with pytest.raises(StoreError, match=words):
            back_up(filled.url, path)
    if filled.url.is_sqlite:
        with pytest.raises(StoreError, match="is the store itself"):
            back_up(filled.url, filled.url.path, force=True)
        with pytest.raises(StoreError, match="is the store itself"):
            restore(filled.url, filled.url.path, force=True)


def test_there_is_no_backup_of_a_store_that_is_not_there(store_url: str, file: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        back_up(StoreUrl.parse(store_url), file)

    assert list(file.parent.iterdir()) == []


def test_a_file_that_is_no_backup_is_refused_before_anything_changes(filled: Store, file: Path, tmp_path: Path) -> None:
    text, empty, other = (tmp_path / name for name in ("text", "empty", "other.db"))
    text.write_text("these are notes\n" * 100)
    empty.touch()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE notes (note TEXT)")

    for path, words in [
        (text, "is not a backup: it was not written by 'hpo db backup'"),
        (empty, "is empty"),
        (other, "another SQLite database" if filled.url.is_sqlite else "a backup of a SQLite store"),
        (tmp_path / "absent", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
    ]:
        with pytest.raises(StoreError, match=words):
            restore(filled.url, path, force=True)
    assert values(filled) == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("part", [0.002, 0.3, 0.7, 0.99])
def test_a_truncated_backup_is_refused_before_anything_changes(part: float, filled: Store, file: Path) -> None:
    back_up(filled.url, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])

    with pytest.raises(StoreError, match=r"is damaged|is not a backup"):
        restore(filled.url, file, force=True)

    assert values(filled) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_backup_of_a_newer_version_is_refused(filled: Store, file: Path) -> None:
    with filled.write() as connection:
        connection.exec_driver_sql("UPDATE hpo_alembic_version SET version_num = '9999'")
    back_up(filled.url, file)

    with pytest.raises(StoreError, match="newer hpo-service"):
        restore(filled.url, file, force=True)


def test_a_backup_of_one_database_does_not_fill_the_other(
    filled: Store, file: Path, sqlite_url: str, postgres_url: str
) -> None:
    back_up(filled.url, file)
    other = StoreUrl.parse(postgres_url if filled.url.is_sqlite else f"{sqlite_url}.other")

    with pytest.raises(StoreError, match=r"is a backup of a (SQLite|PostgreSQL) store, and cannot be restored"):
        restore(other, file)


def test_a_store_with_studies_is_replaced_only_by_force(filled: Store, file: Path) -> None:
    back_up(filled.url, file)
    add_trial(filled, 1, value=5.0)

    with pytest.raises(StoreError, match="has 1 study: name an empty store, or replace all it has with --force"):
        restore(filled.url, file)
    assert len(values(filled)) == 6
    restore(filled.url, file, force=True)
    assert len(values(filled)) == 5


def test_nothing_is_restored_while_workers_send_heartbeats(filled: Store, file: Path) -> None:
    back_up(filled.url, file)
    worker = add_worker(filled)

    for force in (False, True):
        with pytest.raises(StoreError, match=r"1 worker still at work in the store .*stop them first"):
            restore(filled.url, file, force=force)
    with filled.write() as connection:
        connection.execute(update(hpo_workers).where(hpo_workers.c.worker_id == worker).values(ended=1.0))
    restore(filled.url, file, force=True)


def test_a_store_in_use_is_not_taken_for_a_backup(sqlite_url: str, file: Path) -> None:
    with Store.create(sqlite_url) as store:
        create_study(store)  # is in the write-ahead log
        with pytest.raises(StoreError, match="is a store in use, with a write-ahead log beside it"):
            restore(StoreUrl.parse("other.db", base=file.parent), store.url.path)


def test_a_damaged_store_is_moved_aside_by_force(sqlite_url: str, file: Path) -> None:
    with Store.create(sqlite_url) as store:
        add_trial(store, create_study(store))
        back_up(store.url, file)
        path = store.url.path
    path.write_bytes(b"not a database any more" * 1000)

    with pytest.raises(StoreError, match="is not a SQLite database"):
        restore(StoreUrl.parse(sqlite_url), file)
    contents, moved = restore(StoreUrl.parse(sqlite_url), file, force=True)

    assert contents.trials == 1
    assert moved is not None
    assert moved.read_bytes().startswith(b"not a database")
    with Store.open(sqlite_url) as store:
        assert values(store) == [0.5]


def test_a_locked_store_is_not_taken_for_a_damaged_one(
    sqlite_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.store.sqlite_copy.BUSY_SECONDS", 0.5)
    with Store.create(sqlite_url) as store:
        add_trial(store, create_study(store))
        back_up(store.url, file)
        with store.write(), pytest.raises(StoreError, match="has been locked by another program"):
            restore(store.url, file, force=True)

        assert values(store) == [0.5]
        assert store.url.path.exists()


def test_a_restored_store_takes_its_trials_up_again(filled: Store, file: Path) -> None:
    running = add_trial(filled, 1, state="RUNNING")
    add_attempt(filled, running, add_worker(filled), lease=-1)
    back_up(filled.url, file)
    with filled.write() as connection:
        connection.execute(update(hpo_workers).values(ended=1.0))

    restore(filled.url, file, force=True)

    assert [record.state for record in Study(filled, "synthetic").trials()] == ["complete"] * 5 + ["running"]


# ---- PostgreSQL


def test_tables_of_others_in_the_same_database_are_neither_saved_nor_touched(
    postgres: PostgresServer, postgres_url: str, file: Path
) -> None:
    with Store.create(postgres_url) as store:
        add_trial(store, create_study(store))
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("CREATE TYPE mood AS ENUM ('fine')")
            connection.execute("CREATE TABLE diary (id serial PRIMARY KEY, mood mood)")
            connection.execute("CREATE SCHEMA other CREATE TABLE trials (id int)")
            connection.execute("INSERT INTO diary (mood) VALUES ('fine')")
            connection.execute("INSERT INTO other.trials VALUES (1)")
        back_up(store.url, file)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("INSERT INTO diary (mood) VALUES ('fine')")

        restore(store.url, file, force=True)

        with psycopg.connect(postgres_url) as connection:
            assert connection.execute("SELECT count(*) FROM diary").fetchone() == (2,)
            assert connection.execute("SELECT count(*) FROM other.trials").fetchone() == (1,)
        assert values(store) == [0.5]
    assert b"diary" not in file.read_bytes()


def test_the_password_reaches_pg_dump_by_a_file_of_its_own(
    postgres_url: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("pg_dump")
    spy = tmp_path / "bin" / "pg_dump"
    spy.parent.mkdir()
    spy.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {real} --version\n'
        f'echo "$@" >{tmp_path}/seen; env >>{tmp_path}/seen; stat -c %a "$PGPASSFILE" >{tmp_path}/mode\n'
        f'echo "$PGPASSFILE" >{tmp_path}/passfile\nexec {real} "$@"\n'
    )
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}{os.pathsep}{os.environ['PATH']}")
    guarded = postgres_url.replace("postgres@", f"guarded:{PASSWORD}@")
    Store.create(guarded).close()

    made = back_up(StoreUrl.parse(guarded), file)

    assert made.studies == 0
    assert PASSWORD not in (tmp_path / "seen").read_text()
    assert (tmp_path / "mode").read_text().strip() == "600"
    assert not Path((tmp_path / "passfile").read_text().strip()).exists()
    # and without the right one there is an error, not a question
    with pytest.raises(StoreError, match="cannot be used"):
        back_up(StoreUrl.parse(guarded.replace(PASSWORD, "wrong")), tmp_path / "other.backup")


def test_a_pg_dump_that_is_missing_or_too_old_is_explained(
    postgres_url: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.store.pg_tools._FOLDERS", ())
    Store.create(postgres_url).close()
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    with pytest.raises(StoreError, match=r"needs version \d+ or newer of PostgreSQL's pg_dump, which is not in PATH:"):
        back_up(StoreUrl.parse(postgres_url), file)
    (folder / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    (folder / "pg_dump").chmod(0o755)
    with pytest.raises(StoreError, match=r"pg_dump is of version 9\): install"):
        back_up(StoreUrl.parse(postgres_url), file)

    assert left_beside(file) == []


# ---- the verbs
