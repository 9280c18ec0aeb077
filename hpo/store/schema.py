"""Creates, checks and migrates a store's tables: Optuna's through Optuna, ours through alembic.

Several workers may start on an empty store at once, which neither Optuna nor alembic handles by itself:
all changes happen under one lock. A store that is up to date is recognised without importing them.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Engine, inspect

from hpo.errors import StoreError
from hpo.store.engine import connect_sqlite, open_engine, read, store_errors, write
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import SQLITE_TRIGGERS
from hpo.store.url import StoreUrl

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

# the newest revisions, written down so that a store can be recognised without alembic or Optuna
REVISION = "0007"
OPTUNA_REVISION = "v3.2.0.a"
VERSION_TABLE = "hpo_alembic_version"

_LOCK_KEY = 0x68706F  # 'hpo': advisory locks of PostgreSQL are numbers, shared by all users of a database


def create_schema(url: StoreUrl) -> None:
    """Create what is missing in a store: `ensure_schema` for callers without an engine."""
    engine = open_engine(url)
    try:
        ensure_schema(engine, url)
    finally:
        engine.dispose()


def ensure_schema(engine: Engine, url: StoreUrl) -> None:
    """Create what is missing: the SQLite file, Optuna's tables, ours. Many processes may do so at once.

    Raises:
        StoreError: the store has an older or newer schema, or may not be written.
    """
    if url.is_sqlite:
        _check_writable(url.path)
    with store_errors(url):
        if _is_ready(engine, url):
            return
        with schema_lock(engine, url):
            if _is_ready(engine, url):
                return  # another process has created it
            if url.is_sqlite:
                _prepare_file(url.path)
            if versions_of(engine, url).optuna is None:
                # also if a process died halfway through: Optuna writes its revision last
                with optuna_storage(url, create=True):
                    log.debug("Optuna's tables created")
            _check_versions(url, versions_of(engine, url))
            _migrate(engine)
    log.info("store created: %s", url)


def check_schema(engine: Engine) -> None:
    """Check that the store exists and is up to date, without changing or creating anything.

    Raises:
        StoreError: the store does not exist, or has an older or newer schema; the message has the remedy.
    """
    url = StoreUrl(engine.url)
    with store_errors(url):
        versions = versions_of(engine, url)
        if versions.ours is None:
            raise StoreError(_absence(url, versions))
        _check_versions(url, versions)


def is_foreign(engine: Engine) -> bool:
    """Whether the store has Optuna's tables and none of ours.

    Raises:
        StoreError: Optuna's schema is older or newer than this Optuna's.
    """
    url = StoreUrl(engine.url)
    with store_errors(url):
        versions = versions_of(engine, url)
        if versions.ours is not None or versions.optuna is None:
            return False
        _check_versions(url, versions)
        return True


def upgrade_schema(url: StoreUrl) -> None:
    """Migrate an existing store to the newest schemas, Optuna's and ours.

    Raises:
        StoreError: there is no store, or it was written by a newer release.
    """
    engine = open_engine(url)
    try:
        with store_errors(url):
            if versions_of(engine, url) == Versions(None, None):
                raise StoreError(_absence(url, Versions(None, None)))
            with schema_lock(engine, url):
                _upgrade(engine, url)
    finally:
        engine.dispose()


class Versions(NamedTuple):
    """The revisions stored in a store; None if it has no such tables."""

    ours: str | None
    optuna: str | None


def versions_of(engine: Engine, url: StoreUrl) -> Versions:
    """The stored revisions, without a check."""
    if url.is_sqlite and not url.path.exists():
        return Versions(None, None)
    with read(engine) as connection:
        tables = inspect(connection)

        def revision(table: str) -> str | None:
            if not tables.has_table(table):
                return None
            found = connection.exec_driver_sql(f"SELECT version_num FROM {table}").scalar()  # noqa: S608
            return None if found is None else str(found)

        return Versions(revision(VERSION_TABLE), revision("alembic_version"))


def _is_ready(engine: Engine, url: StoreUrl) -> bool:
    versions = versions_of(engine, url)
    if versions.ours is None:
        return False
    _check_versions(url, versions)
    if not url.is_sqlite:
        return True
    with read(engine) as connection:
        # a copy or a backup of a store is no longer in WAL mode
        return connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def _check_versions(url: StoreUrl, versions: Versions) -> None:
    if versions.ours is not None and versions.ours != REVISION:
        if versions.ours > REVISION:
            raise StoreError(
                f"the store {url} was written by a newer hpo-service (schema {versions.ours}, this one has "
                f"{REVISION}): update this one with 'pip install -U hpo-service'",
            )
        raise StoreError(
            f"the store {url} has the older schema {versions.ours}, this hpo-service needs {REVISION}: "
            "stop its workers, then run 'hpo db upgrade'",
        )
    if versions.optuna is None or versions.optuna == OPTUNA_REVISION:
        return
    with optuna_storage(url) as storage:
        if versions.optuna == storage.get_head_version():
            return  # Optuna is newer than the constant above
        if versions.optuna in storage.get_all_versions():
            raise StoreError(
                f"the store {url} has Optuna's older schema {versions.optuna}: stop its workers, then run "
                "'hpo db upgrade'",
            )
        raise StoreError(
            f"the store {url} was written by a newer Optuna (schema {versions.optuna}): update it with "
            "'pip install -U optuna'",
        )


def _absence(url: StoreUrl, versions: Versions) -> str:
    if url.is_sqlite and not url.path.exists():
        found = f"there is no store {url.path}"
    elif versions.optuna is not None:
        found = f"the store {url} holds Optuna studies, but not yet the tables of hpo-service"
    else:
        found = f"there is no store in {url.place}: it has no tables of hpo-service"
    return f"{found}. 'hpo run STUDY.yaml' or 'hpo db init' creates it; --store or HPO_STORE name another one"


@contextmanager
def schema_lock(engine: Engine | None, url: StoreUrl) -> Iterator[None]:
    """Keep every other process from creating, migrating or restoring this store; SQLite needs no engine for it."""
    if not url.is_sqlite:
        assert engine is not None
        # a transaction's lock: between two transactions, a pooler may give us another connection of the server
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            yield
        return
    # a lock on the folder: a lock file would be left behind, and the store itself may not exist yet
    try:
        folder = os.open(url.path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StoreError(f"the store's folder {url.path.parent} cannot be read: {error.strerror}") from error
    try:
        _lock_folder(folder, url)
        yield
    finally:
        os.close(folder)


def _lock_folder(folder: int, url: StoreUrl) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreError(
            f"the store's folder {url.path.parent} cannot be locked ({error.strerror}): SQLite needs a local "
            "disk; put the store on one, or use PostgreSQL",
        ) from error


def _check_writable(path: Path) -> None:
    for needed in (path, path.parent):
        if needed.exists() and not os.access(needed, os.W_OK, effective_ids=True):
            raise StoreError(f"the store {path} cannot be written: you have no permission to write {needed}")


def _prepare_file(path: Path) -> None:
    try:
        if path.exists() and path.stat().st_size == 0:
            log.warning("the store %s is an empty file: creating a new store in it", path)
        path.touch()
    except OSError as error:
        raise StoreError(f"the store {path} cannot be created: {error.strerror}") from error
    with closing(connect_sqlite(path)) as connection:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        log.warning("the store %s has no write-ahead log here: readers and writers block each other", path)


def _migrate(engine: Engine) -> None:
    from alembic import command

    config = _alembic_config()
    with write(engine) as connection:
        config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
        command.upgrade(config, "head")
        if engine.dialect.name == "sqlite":
            # after every migration, because copying a table loses its triggers
            for trigger in SQLITE_TRIGGERS:
                connection.exec_driver_sql(trigger)


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()}


def _upgrade(engine: Engine, url: StoreUrl) -> None:
    versions = versions_of(engine, url)
    if versions.ours is not None and versions.ours not in _known_revisions():
        if versions.ours > REVISION:
            _check_versions(url, versions)
        raise StoreError(
            f"the store {url} has the unknown schema {versions.ours}, which no release of hpo-service wrote: "
            "restore a backup of the store with 'hpo db restore'"
        )
    if url.is_sqlite:
        _prepare_file(url.path)
    with _unchanged_logging(), optuna_storage(url, create=versions.optuna is None) as storage:
        known = storage.get_all_versions()
        if versions.optuna is not None and versions.optuna not in known:
            _check_versions(url, versions)
        storage.upgrade()
    _migrate(engine)


@contextmanager
def _unchanged_logging() -> Iterator[None]:
    # Optuna's migration configures all logging of the process unless the root logger has a handler
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
