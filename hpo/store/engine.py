"""The one factory that opens a store's database, and the two kinds of transactions on it.

`read` sees one snapshot and cannot write; `write` sees committed rows and commits at its end.
Both behave alike on SQLite and PostgreSQL, except for claiming rows: see `write`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hpo.errors import StoreError, StoreUnreachableError
from hpo.store.timing import Patience
from hpo.store.url import StoreUrl, child_environment

__all__ = [
    "StoreUrl",
    "child_environment",
    "connect_arguments",
    "connect_sqlite",
    "is_damaged",
    "is_outage",
    "open_engine",
    "read",
    "store_errors",
    "transaction_mark",
    "was_committed",
    "write",
]

_BUSY_SECONDS = 60.0
_CONNECT_SECONDS = 10
_READS = "hpo_reads"
_PASSING = ("starting up", "shutting down", "too many clients", "connection slots", "in recovery")


def open_engine(url: StoreUrl, patience: Patience | None = None, *, connections: int = 1) -> Engine:
    """Open the store's database; a missing SQLite file is not created.

    Args:
        patience: may change while the engine is in use.
        connections: that are kept for later; one more can be in use at a time.

    Raises:
        StoreError: the database is unreachable or cannot be read; the message has its place and what to check.
    """
    # hide_parameters: an error with a statement's values would put configurations and tracebacks into logs
    patience = patience or Patience()
    pool: dict[str, Any] = {"pool_size": connections, "max_overflow": 1, "hide_parameters": True}
    address = make_url(url.reveal())
    if url.is_sqlite:
        _check_path(url.path)
        engine = create_engine(address, creator=lambda: connect_sqlite(url.path), **pool)
        event.listen(engine, "begin", partial(_begin_sqlite, patience))
        if not url.path.exists():
            return engine
    else:
        try:
            engine = create_engine(address, pool_pre_ping=True, connect_args=connect_arguments(url), **pool)
            from hpo.store.postgresql import connect_within

            event.listen(engine, "do_connect", partial(connect_within, patience))
        except ImportError as error:
            raise StoreError(
                "a PostgreSQL store needs psycopg, which cannot be imported: pip install 'hpo-service[postgres]'",
            ) from error
        if "PGTZ" in os.environ:
            event.listen(engine, "connect", _set_utc)
    try:
        with store_errors(url), read(engine) as connection:
            # unlike SELECT 1, this makes SQLite read the file
            connection.exec_driver_sql("PRAGMA schema_version" if url.is_sqlite else "SELECT 1")
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one snapshot of the store and cannot write."""
    options: dict[str, Any] = {_READS: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection:
        yield connection


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed at the end, or rolled back on an exception.

    On SQLite it excludes all other writers from its start, so that a row cannot change between being read and
    being written. On PostgreSQL claim rows with `with_for_update()`, which SQLite ignores.
    """
    with engine.begin() as connection:
        yield connection


def is_damaged(error: Exception) -> bool:
    """Whether SQLite cannot read its file any more: it is damaged, or another one was copied over it."""
    return isinstance(error, DBAPIError) and type(error.orig) is sqlite3.DatabaseError


def transaction_mark(connection: Connection) -> int | None:
    """What a transaction is known by when the answer to its commit is lost; None on SQLite, which has no such doubt."""
    if connection.dialect.name != "postgresql":
        return None
    return int(connection.scalar(text("SELECT txid_current()")) or 0)


def was_committed(connection: Connection, mark: int) -> bool:
    """Whether the transaction of this mark was committed.

    Raises:
        OperationalError: it is still in progress, in a connection that its client has given up.
    """
    status = connection.scalar(text("SELECT txid_status(:mark)"), {"mark": mark})
    if status == "in progress":
        raise OperationalError("SELECT txid_status", None, Exception("a transaction is still in progress"))
    return bool(status == "committed")


@contextmanager
def store_errors(url: StoreUrl) -> Iterator[None]:
    """Turn errors of the database or its driver into a StoreError without the password."""
    failure: StoreError | None = None
    cause: BaseException | None = None
    try:
        yield
    except (DBAPIError, sqlite3.Error, UnicodeError) as error:
        original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        is_secret = url.password is not None and url.password in str(error)
        reason = "" if is_secret else " ".join(str(original).split())
        failure = (StoreUnreachableError if _may_answer_later(url, error) else StoreError)(_explanation(url, reason))
        cause = None if is_secret else error
    if failure is not None:
        # outside of the handler, so that a withheld cause is not attached as the context either
        raise failure from cause


def _may_answer_later(url: StoreUrl, error: Exception) -> bool:
    """Whether a server did not answer, rather than refuse what it was asked for: its refusals begin with FATAL."""
    if url.is_sqlite or not isinstance(error, SQLAlchemyError) or not is_outage(error):
        return False
    text = str(error)
    return "FATAL" not in text or any(words in text for words in _PASSING)


def is_outage(error: SQLAlchemyError) -> bool:
    """Whether the error may be temporary: no connection, a full disk, a read-only file, a busy database.

    Any other error is a statement that the database will never accept.
    """
    if isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
        return "no such table" not in str(error) and "no such column" not in str(error)
    if not isinstance(error, DBAPIError):
        return False
    # psycopg's names: the server is a standby for a moment, or is shutting down
    return error.connection_invalidated or type(error.orig).__name__ in ("ReadOnlySqlTransaction", "AdminShutdown")


def connect_sqlite(
    path: Path,
    *,
    isolation_level: Literal["IMMEDIATE"] | None = None,
) -> sqlite3.Connection:
    """Open an existing SQLite file with our settings: a long busy timeout, and foreign keys.

    Without an `isolation_level`, sqlite3 starts no transactions by itself.
    """
    # mode=rw: a missing file is an error, and is not replaced by an empty store
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=isolation_level,
        check_same_thread=False,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    # in WAL mode a power failure can lose the last commits, but never consistency
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def connect_arguments(url: StoreUrl) -> dict[str, Any]:
    """psycopg's arguments besides the URL, which may override all of them but the time zone."""
    query = make_url(url.reveal()).query
    options = query.get("options", "")
    defaults: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "hpo",
        # a server that vanished without closing its connections is noticed within a minute instead of two hours
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }
    arguments = {name: value for name, value in defaults.items() if name not in query}
    # Prepared statements belong to a connection of the server, which a pooler such as PgBouncer gives to another client
    # after each transaction; our statements take as long without them.
    return arguments | {"options": f"{options} -c timezone=UTC".strip(), "prepare_threshold": None}


def _begin_sqlite(patience: Patience, connection: Connection) -> None:
    reads = bool(connection.get_execution_options().get(_READS))
    connection.exec_driver_sql(f"PRAGMA query_only = {int(reads)}")
    if patience.seconds is not None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(1000 * patience.seconds)}")
    # after a plain BEGIN, a write fails at once if another process has written since the first read
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _set_utc(connection: Any, _: object) -> None:
    # libpq sends this variable after the options of `connect_arguments`, and the last one wins
    connection.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"the store {path} is a folder: name a file in it, such as {path / 'hpo.db'}")
    if not path.parent.is_dir():
        raise StoreError(f"the store {path} cannot be created: {path.parent} is not a folder; create it first")


def _explanation(url: StoreUrl, reason: str) -> str:
    detail = f": {reason}" if reason else ""
    if not url.is_sqlite:
        return (
            f"the store {url} cannot be used{detail}. Looked for {url.place}: check that the server runs there "
            "and accepts connections from this machine, that the database exists, and the user's name, "
            "password and privileges"
        )
    if "malformed" in reason:
        return (
            f"the store {url.path} is damaged{detail}. Was another file copied over it while it was used? Restore a "
            "backup: hpo db restore FILE --force"
        )
    if "not a database" in reason:
        return (
            f"the store {url.path} is not a SQLite database: name another file, or move this one away. If it was one, "
            "it is damaged; restore a backup: hpo db restore FILE --force"
        )
    if "unable to open" in reason or "readonly" in reason:
        return (
            f"the store {url.path} cannot be opened{detail}. Check that you may write the file and its folder, "
            "where SQLite keeps two more files beside it"
        )
    return f"the store {url.path} cannot be used{detail}"
