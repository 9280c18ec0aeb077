"""Copying SQLite databases by their own online copy, and judging the copies."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from hpo.errors import StoreError
from hpo.store.engine import connect_sqlite
from hpo.store.schema import VERSION_TABLE

BUSY_SECONDS = 60.0


def copy_out(store: Path, target: Path, *, name: Path) -> tuple[str, int, int]:
    """Copy a store, as it is at one moment, into a file that exists; (revision, studies, trials) of the copy.

    Args:
        name: of the file in messages.
    """
    with closing(connect_sqlite(store)) as source, closing(sqlite3.connect(target)) as copy:
        try:
            _copy(source, copy, place=store)
            # a single file, that can be read where nothing may be written
            copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            raise StoreError(f"{name} cannot be written: {error}") from error
        return _contents(copy, name)


def contents(file: Path) -> tuple[str, int, int]:
    """(revision, studies, trials) of a copy, all of which is read for it.

    Raises:
        StoreError: it is damaged, in use, or no copy of a store.
    """
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size > 0:
        raise StoreError(f"{file} is a store in use, with a write-ahead log beside it: back it up with 'hpo db backup'")
    with _opened(file) as connection:
        return _contents(connection, file)


def fill(store: Path, backup: Path) -> None:
    """Replace what a SQLite file holds by a backup, all of it or nothing; whoever has it open sees the new content."""
    with _opened(backup) as source, closing(sqlite3.connect(store, timeout=1)) as target:
        _copy(source, target, place=store)
        said = target.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise StoreError(f"the store {store} is damaged after the copy ({said}): check the disk")
    with closing(connect_sqlite(store)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


@contextmanager
def _opened(backup: Path) -> Iterator[sqlite3.Connection]:
    # immutable: a backup may lie where nothing can be written, not even a lock
    with closing(sqlite3.connect(f"file:{quote(str(backup))}?mode=ro&immutable=1", uri=True)) as connection:
        yield connection


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, *, place: Path) -> None:
    end = time.monotonic() + BUSY_SECONDS

    def give_up(*_: int) -> None:
        # without this, sqlite3 would wait for ever
        if time.monotonic() > end:
            raise StoreError(f"the store {place} is locked by another program for {BUSY_SECONDS:.0f} s: end that first")

    # all pages in one step: in several, every write of a worker would start the copy anew
    source.backup(target, progress=give_up)


def _contents(connection: sqlite3.Connection, file: Path) -> tuple[str, int, int]:
    try:
        said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise StoreError(f"{file} is damaged: {' '.join(said.split())}")
        [(revision,)] = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()  # noqa: S608
        [(studies,)] = connection.execute("SELECT count(*) FROM studies").fetchall()
        [(trials,)] = connection.execute("SELECT count(*) FROM trials").fetchall()
    except ValueError:
        raise StoreError(f"{file} is no backup of a store: it does not say which schema it has") from None
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            raise StoreError(f"{file} is no backup of a store: it is another SQLite database") from error
        raise StoreError(f"{file} is damaged, or was cut short: {error}") from error
    return str(revision), int(studies), int(trials)
