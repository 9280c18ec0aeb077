"""Copies SQLite databases with SQLite's online backup, and checks the copies."""

from __future__ import annotations

import math
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
    """Copy one snapshot of a store into an existing file; (revision, studies, trials) of the copy.

    Args:
        name: the file's name in messages.
    """
    with closing(connect_sqlite(store)) as source, closing(sqlite3.connect(target)) as copy:
        try:
            _copy(source, copy, place=store)
            # a single file, which can be read in a read-only folder
            copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            raise StoreError(f"{name} cannot be written: {error}") from error
        return _contents(copy, name)


def contents(file: Path) -> tuple[str, int, int]:
    """(revision, studies, trials) of a copy, which is read completely.

    Raises:
        StoreError: it is damaged, in use, or not a copy of a store.
    """
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size > 0:
        raise StoreError(f"{file} is a store in use, with a write-ahead log beside it: back it up with 'hpo db backup'")
    with _opened(file) as connection:
        found = _contents(connection, file)
        # what is cut off from a page in which nothing is written yet is missed by SQLite's check
        whole = math.prod(connection.execute(f"PRAGMA {of}").fetchone()[0] for of in ("page_count", "page_size"))
    if file.stat().st_size < whole:
        raise StoreError(f"{file} is damaged or truncated: it has fewer bytes than the {whole:,} of its pages")
    return found


def fill(store: Path, backup: Path) -> None:
    """Replace a SQLite file's contents by a backup, completely or not at all; open connections see the new contents."""
    with _opened(backup) as source, closing(sqlite3.connect(store, timeout=1)) as target:
        _copy(source, target, place=store)
        result = target.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if result != "ok":
            raise StoreError(f"the store {store} is damaged after the copy ({result}): check the disk")
    with closing(connect_sqlite(store)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


@contextmanager
def _opened(backup: Path) -> Iterator[sqlite3.Connection]:
    # immutable: a backup may be in a read-only folder, where not even a lock can be written
    with closing(sqlite3.connect(f"file:{quote(str(backup))}?mode=ro&immutable=1", uri=True)) as connection:
        yield connection


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, *, place: Path) -> None:
    end = time.monotonic() + BUSY_SECONDS

    def give_up(*_: int) -> None:
        # without this, sqlite3 would wait forever
        if time.monotonic() > end:
            raise StoreError(
                f"the store {place} has been locked by another program for {BUSY_SECONDS:.0f} s: end that first"
            )

    # all pages in one step: between steps, every write of a worker would restart the copy
    source.backup(target, progress=give_up)


def _contents(connection: sqlite3.Connection, file: Path) -> tuple[str, int, int]:
    try:
        result = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if result != "ok":
            raise StoreError(f"{file} is damaged: {' '.join(result.split())}")
        [(revision,)] = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()  # noqa: S608
        [(studies,)] = connection.execute("SELECT count(*) FROM studies").fetchall()
        [(trials,)] = connection.execute("SELECT count(*) FROM trials").fetchall()
    except ValueError:
        raise StoreError(f"{file} is not a backup of a store: it has no schema revision") from None
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            raise StoreError(f"{file} is not a backup of a store: it is another SQLite database") from error
        raise StoreError(f"{file} is damaged or truncated: {error}") from error
    return str(revision), int(studies), int(trials)
