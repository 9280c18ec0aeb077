"""Whether an open SQLite store is still the file at its path, and a copy of what it has when it is not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import StoreReplacedError
from hpo.store import Store


class StoreFile:
    """The file of an open store, as it was when this began; nothing to watch for PostgreSQL."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._identity = self._found()

    def check(self) -> None:
        """Look whether the path still leads to that file.

        Raises:
            StoreReplacedError: it was deleted, or another file is there.
        """
        found = self._found()
        if found == self._identity:
            return
        what = "was deleted" if found is None else "was replaced by another file"
        raise StoreReplacedError(f"the store {self._store.url} {what} while this worker used it")

    def rescue(self) -> Path | None:
        """Copy what the open connection still has of a deleted file to a new file beside it; None if it cannot."""
        if not self._store.url.is_sqlite:
            return None
        path = self._store.url.path
        copy = path.with_name(f"{path.name}.rescued-{datetime.now():%Y%m%d-%H%M%S}")
        try:
            with (
                closing(self._store.engine.raw_connection()) as connection,
                closing(sqlite3.connect(copy)) as target,
            ):
                opened = connection.driver_connection
                assert isinstance(opened, sqlite3.Connection)
                opened.backup(target)
        except (SQLAlchemyError, sqlite3.Error, OSError):
            copy.unlink(missing_ok=True)
            return None
        return copy

    def _found(self) -> tuple[int, int] | None:
        if not self._store.url.is_sqlite:
            return None
        try:
            found = self._store.url.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
