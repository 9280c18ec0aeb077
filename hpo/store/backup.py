"""Backups of a store: written while workers run, checked for completeness, and restored while no worker runs.

A SQLite store becomes a SQLite file, by the database's own online copy; a PostgreSQL store becomes an archive of
pg_dump (`hpo.store.pg_tools`). Either is completed under a temporary name before it gets its own.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import DBAPIError

from hpo.errors import StoreError
from hpo.printable import counted
from hpo.store import pg_tools, sqlite_copy
from hpo.store.clock import db_now
from hpo.store.engine import open_engine, read, store_errors
from hpo.store.schema import REVISION, VERSION_TABLE, schema_lock
from hpo.store.tables import hpo_workers, studies, trials
from hpo.store.timing import Timing
from hpo.store.url import StoreUrl

_SQLITE_MAGIC, _ARCHIVE_MAGIC = b"SQLite format 3\0", b"PGDMP"


@dataclass(frozen=True)
class Contents:
    """The contents of a backup; `str` gives the numbers of studies and trials."""

    path: Path
    studies: int
    trials: int

    def __str__(self) -> str:
        counts = ((self.studies, "study", "studies"), (self.trials, "trial", "trials"))
        return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)


def back_up(url: StoreUrl, file: Path, *, force: bool = False) -> Contents:
    """Write a consistent backup of the store, while others read and write it.

    Raises:
        StoreError: there is no store or no pg_dump, the file exists already (unless `force`) or cannot be written.
    """
    file = file.absolute()
    if url.is_sqlite and file.resolve() == url.path.resolve():
        raise StoreError(f"{file} is the store itself: name another file for its backup")
    check_new_file(file, example="hpo.backup", force=force)
    engine = open_engine(url)
    try:
        with store_errors(url):
            _check_is_store(engine, url)
            with partial_file(file, force=force) as partial:
                if url.is_sqlite:
                    _, *counts = sqlite_copy.copy_out(url.path, partial, name=file)
                else:
                    pg_tools.dump(url, engine, partial)
                    _, *counts = pg_tools.contents(partial)
        return Contents(file, *counts)
    finally:
        engine.dispose()


def restore(url: StoreUrl, file: Path, *, force: bool = False) -> tuple[Contents, Path | None]:
    """Replace the store's contents by a backup, completely or not at all.

    Returns:
        The store's new contents, and the new path of a damaged SQLite file that was moved away, if any.

    Raises:
        StoreError: the file is not a complete backup for this kind of store, the store has studies (unless `force`),
            or workers use it.
    """
    contents = _read_backup(url, file.absolute())
    if not url.is_sqlite:
        return _restore_archive(url, contents, force=force), None
    moved: Path | None = None
    with schema_lock(None, url):
        if url.path.exists():
            try:
                _check_free(url, force=force)
            except StoreError as error:
                if not force or not _is_damage(error):
                    raise
                moved = _move_aside(url.path)  # it cannot be read, which may be the reason for the restore
        with store_errors(url):
            if url.path.exists():
                sqlite_copy.fill(url.path, contents.path)
            else:
                with partial_file(url.path, force=False) as partial:
                    sqlite_copy.fill(partial, contents.path)
                    _set_default_mode(partial)
    return contents, moved


def check_new_file(file: Path, *, example: str, force: bool) -> None:
    """Check that a file of this absolute path may be written.

    Args:
        example: the name of such a file in a folder.
        force: it may be there already.

    Raises:
        StoreError: it is a folder, its folder is not there, or it is there already.
    """
    if file.is_dir():
        raise StoreError(f"{file} is a folder: name a file in it, such as {file / example}")
    if not file.parent.is_dir():
        raise StoreError(f"{file} cannot be written: {file.parent} is not a folder; create it first")
    if file.exists() and not force:
        raise StoreError(f"{file} exists already: name another file, or replace it with --force")


def _check_is_store(engine: Engine, url: StoreUrl) -> None:
    if not (url.is_sqlite and not url.path.exists()):
        with read(engine) as connection:
            if inspect(connection).has_table(VERSION_TABLE):
                return
    raise StoreError(f"there is no store in {url.place}: it has no tables of hpo-service; --store names another one")


@contextmanager
def partial_file(file: Path, *, force: bool) -> Iterator[Path]:
    """A temporary file beside `file`, renamed to it if no error occurs.

    Raises:
        StoreError: it cannot be written, or another process wrote it meanwhile (unless `force`).
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".partial", dir=file.parent)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}") from error
    partial = Path(name)
    try:
        yield partial
        os.fsync(descriptor)
        if force:
            partial.replace(file)
        else:
            _rename_unless_there(partial, file)
    except FileExistsError:
        raise StoreError(f"{file} exists already: another process wrote it at the same time") from None
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)
    _sync_folder(file.parent)


def _rename_unless_there(partial: Path, file: Path) -> None:
    try:
        os.link(partial, file)  # unlike a renaming, it fails if the file exists by now
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP) or file.exists():
            raise
        partial.replace(file)  # the file system has no hard links


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_backup(url: StoreUrl, file: Path) -> Contents:
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise StoreError(f"the backup {file} cannot be read: {error.strerror}") from error
    if url.is_sqlite and file.exists() and url.path.exists() and file.samefile(url.path):
        raise StoreError(f"{file} is the store itself: name a backup of it")
    if not magic:
        raise StoreError(f"{file} is empty: it is not a backup")
    is_sqlite, is_archive = magic == _SQLITE_MAGIC, magic.startswith(_ARCHIVE_MAGIC)
    if not (is_sqlite or is_archive):
        raise StoreError(f"{file} is not a backup: it was not written by 'hpo db backup'")
    if is_sqlite != url.is_sqlite:
        kinds = ("a SQLite", "a PostgreSQL")
        mine, theirs = kinds if is_sqlite else kinds[::-1]
        raise StoreError(f"{file} is a backup of {mine} store, and cannot be restored into {theirs} store: {url}")
    revision, *counts = (sqlite_copy if is_sqlite else pg_tools).contents(file)
    if revision > REVISION:
        raise StoreError(
            f"{file} was written by a newer hpo-service (schema {revision}, this one has {REVISION}): update this one "
            "with 'pip install -U hpo-service'"
        )
    return Contents(file, *counts)


def _set_default_mode(path: Path) -> None:
    """Set the mode of any new file; mkstemp's allows one user only."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _is_damage(error: StoreError) -> bool:
    """Whether the file is damaged; 'locked' and the like are an OperationalError."""
    return isinstance(error.__cause__, DBAPIError) and type(error.__cause__.orig) is sqlite3.DatabaseError


def _move_aside(store: Path) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    for suffix in ("-wal", "-shm", ""):
        path = store.with_name(store.name + suffix)
        with suppress(FileNotFoundError):
            path.rename(store.with_name(f"{store.name}.damaged-{stamp}{suffix}"))
    return store.with_name(f"{store.name}.damaged-{stamp}")


def _check_free(url: StoreUrl, *, force: bool) -> None:
    """Refuse a store that workers use, or that has studies."""
    lease = Timing.of_environment().lease  # a worker that was silent for longer has lost its trials
    engine = open_engine(url)
    try:
        with store_errors(url), read(engine) as connection:
            tables = inspect(connection).get_table_names()
            count = connection.scalar(select(func.count()).select_from(studies)) if "studies" in tables else 0
            alive = []
            if "hpo_workers" in tables:
                silence = db_now() - hpo_workers.c.beat
                query = select(hpo_workers.c.host, hpo_workers.c.pid)
                rows = connection.execute(query.where(hpo_workers.c.ended.is_(None), silence < lease))
                alive = [f"{row.host}:{row.pid}" for row in rows]
    finally:
        engine.dispose()
    if alive:
        raise StoreError(
            f"{counted(len(alive), 'worker')} still at work in the store {url} ({', '.join(alive[:5])}): stop them "
            f"first; a killed one counts as alive for {lease:g} s"
        )
    if count and not force:
        raise StoreError(
            f"the store {url} has {counted(count, 'study')}: name an empty store, or replace all it has with --force "
            "(after 'hpo db backup')"
        )


def _restore_archive(url: StoreUrl, contents: Contents, *, force: bool) -> Contents:
    engine = open_engine(url)
    try:
        with store_errors(url), schema_lock(engine, url):
            _check_free(url, force=force)
            pg_tools.restore(url, engine, contents.path)
            with read(engine) as connection:
                counts = [connection.scalar(select(func.count()).select_from(table)) for table in (studies, trials)]
    finally:
        engine.dispose()
    if counts != [contents.studies, contents.trials]:
        raise StoreError(f"the store {url} differs from the backup after the restore: {counts} instead of {contents}")
    return contents
