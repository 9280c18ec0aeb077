"""A SQLite store's file: integrity, journal mode, triggers, and the file system that it is on."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
from sqlalchemy.exc import DatabaseError

from hpo.doctor.disk import free_space
from hpo.doctor.finding import CheckContext, Finding, listed
from hpo.printable import counted, mebibytes
from hpo.store import Store
from hpo.store.engine import connect_sqlite
from hpo.store.tables import SQLITE_TRIGGERS

# locks or shared memory, which the write-ahead log needs, do not work across the machines that share these
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "afs", "ceph", "lustre", "beegfs", "gpfs", "glusterfs", "fuse.sshfs")
UNCERTAIN_FILE_SYSTEMS = ("fuse", "9p", "virtiofs", "vboxsf", "drvfs")
LARGE_LOG_BYTES = 64 * 2**20
_TRIGGER_NAMES = [re.findall(r"EXISTS (\w+)", trigger)[0] for trigger in SQLITE_TRIGGERS]


def check_integrity(context: CheckContext) -> Iterator[Finding]:
    """Every page of the file, and every reference between its rows."""
    path = context.store.url.path
    with context.store.read() as connection:
        try:
            lines = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]
        except DatabaseError as error:  # too damaged for the check itself
            lines = [str(error.orig)]
        if lines != ["ok"]:
            yield Finding(
                "problem",
                "integrity",
                f"the file is damaged: {'; '.join(' '.join(line.split()) for line in lines[:3])}",
                str(path),
                "stop the workers and restore a backup: hpo db restore FILE --force",
            )
            return
        orphans = Counter((row[0], row[2]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall())
    for (table, parent), count in sorted(orphans.items()):
        yield Finding(
            "problem",
            "integrity",
            f"deleted rows of {parent} have {counted(count, 'row')} of {table} left, which a new study could inherit",
            table,
            "a program deleted a study without our triggers: make a backup, then delete these rows "
            f"(PRAGMA foreign_key_check({table}) lists them)",
        )
    if not orphans:
        yield Finding("ok", "integrity", f"the file is intact ({mebibytes(path.stat().st_size)})", str(path))


def check_journal(context: CheckContext) -> Iterator[Finding]:
    """The write-ahead log: enabled, and not too large."""
    path = context.store.url.path
    with context.store.read() as connection:
        mode = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
    if mode != "wal":
        yield Finding(
            "problem",
            "journal",
            f"journal mode '{mode}': readers and writers wait for each other",
            str(path),
            "hpo doctor --repair enables the write-ahead log",
            _turn_wal_on,
        )
        return
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > LARGE_LOG_BYTES:
        yield Finding(
            "note",
            "journal",
            f"the write-ahead log has {mebibytes(size)}: a program keeps a transaction open, which slows down reads",
            str(log),
            "end programs that keep the store open for reading (notebooks, SQL shells)",
        )
    else:
        yield Finding("ok", "journal", f"write-ahead log, {mebibytes(size)}", str(path))


def check_triggers(context: CheckContext) -> Iterator[Finding]:
    """Our triggers, without which a deleted study's rows would become another study's."""
    missing = _missing_triggers(context.store)
    if missing:
        yield Finding(
            "problem",
            "triggers",
            f"{listed(missing)} is missing: a deleted study's rows could become another study's",
            str(context.store.url.path),
            "hpo doctor --repair creates it again",
            _create_triggers,
        )
    else:
        yield Finding("ok", "triggers", f"{listed(_TRIGGER_NAMES)}")


def check_place(context: CheckContext) -> Iterator[Finding]:
    """The file system that the store is on, and its free space."""
    folder = context.store.url.path.resolve().parent
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    yield file_system(folder, mounts)
    yield free_space(folder, "the store")


def file_system(folder: Path, mounts: dict[str, str]) -> Finding:
    """Whether SQLite's locks work in the folder.

    Args:
        mounts: type of file system by mount point.
    """
    inside = [point for point in mounts if folder.is_relative_to(point)]
    kind = mounts[max(inside, key=len)] if inside else "unknown"
    advice = "put the store on a local disk, or use PostgreSQL for several machines"
    if kind.startswith(NETWORK_FILE_SYSTEMS):
        return Finding(
            "problem",
            "file system",
            f"{kind} is shared between machines, where SQLite's locks do not hold: a store can be damaged",
            str(folder),
            advice,
        )
    if kind.startswith(UNCERTAIN_FILE_SYSTEMS):
        what = f"{kind} may be shared between machines, where SQLite's locks do not hold"
        return Finding("note", "file system", what, str(folder), f"if it is, {advice}")
    return Finding("ok", "file system", kind, str(folder))


def _turn_wal_on(store: Store) -> str | None:
    with closing(connect_sqlite(store.url.path)) as connection:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return None
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError:
            mode = "the old one"  # another program has locked the file for a minute
    return "journal mode is now WAL" if mode == "wal" else None


def _missing_triggers(store: Store) -> list[str]:
    with store.read() as connection:
        rows = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
    return [name for name in _TRIGGER_NAMES if name not in rows]


def _create_triggers(store: Store) -> str | None:
    missing = _missing_triggers(store)
    with store.write() as connection:
        for trigger in SQLITE_TRIGGERS:
            connection.exec_driver_sql(trigger)
    return f"created {listed(missing)}" if missing else None
