"""PostgreSQL's own pg_dump and pg_restore: finding them, and running them without showing the password."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, Enum
from sqlalchemy.engine import make_url

from hpo.errors import StoreError
from hpo.store.engine import read
from hpo.store.schema import VERSION_TABLE
from hpo.store.tables import hpo_metadata, optuna_metadata
from hpo.store.url import StoreUrl, child_environment

# where distributions put them when they are not in PATH
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_LOCK_SECONDS = 10

_KINDS = (
    *("TYPE", "TABLE DATA", "TABLE", "DEFAULT", "CONSTRAINT", "FK CONSTRAINT", "INDEX"),
    *("SEQUENCE OWNED BY", "SEQUENCE SET", "SEQUENCE"),
)
_TYPES = {
    column.type.name
    for table in optuna_metadata.tables.values()
    for column in table.columns
    if isinstance(column.type, Enum)
}

# Optuna's tables that we have no use for are part of a store, too
_OTHERS_OF_OPTUNA = ("alembic_version", "version_info", "trial_heartbeats", "trial_constraints")


def dump(url: StoreUrl, engine: Engine, file: Path) -> None:
    """Write the store's tables, as they are at one moment, into an archive.

    Raises:
        StoreError: there is no pg_dump, it is older than the server, or it fails.
    """
    with read(engine) as connection:
        major = int(str(connection.exec_driver_sql("SHOW server_version_num").scalar())) // 10_000
        schema = str(connection.exec_driver_sql("SELECT current_schema()").scalar())
        tables = connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relkind IN ('r', 'p', 'v', 'm', 'f')"
        ).scalars()
        strangers = [name for name in tables if not _is_ours(name)]
    excluded = [f'--exclude-table="{schema}"."{name}"' for name in strangers]
    options = ["--format=custom", "--no-owner", "--no-privileges", f'--schema="{schema}"', *excluded]
    _run(url, [_find("pg_dump", major), *options, f"--file={file}"], f"the store {url} cannot be backed up")


def restore(url: StoreUrl, file: Path) -> None:
    """Replace the store's tables by the archive's, in one transaction.

    Raises:
        StoreError: there is no pg_restore, or it fails: then nothing has changed.
    """
    entries = _run(None, [_find("pg_restore"), "--list", str(file)], f"{file} cannot be read")
    kept = [line for line in entries.splitlines() if _is_kept(line)]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "entries"
        wanted.write_text("\n".join(kept), encoding="utf-8")
        options = ["--single-transaction", "--exit-on-error", "--clean", "--if-exists", "--no-owner", "--no-privileges"]
        command = [_find("pg_restore"), *options, f"--use-list={wanted}"]
        _run(url, [*command, "DATABASE", str(file)], f"the store {url} cannot be restored, and is as it was")


def count(file: Path) -> tuple[int, int]:
    """(studies, trials) in an archive, all of which is read for it.

    Raises:
        StoreError: it is cut short, or no archive of a store.
    """
    said = f"{file} is damaged, or was cut short"
    program = _find("pg_restore")
    entries = _run(None, [program, "--list", str(file)], said)
    if not re.search(rf"TABLE DATA \S+ {VERSION_TABLE} ", entries):
        raise StoreError(f"{file} is no backup of a store: it is an archive of another database")
    _run(None, [program, f"--file={os.devnull}", str(file)], said)
    return _rows(program, file, "studies"), _rows(program, file, "trials")


def _rows(program: str, file: Path, table: str) -> int:
    text = _run(None, [program, "--data-only", f"--table={table}", "--file=-", str(file)], f"{file} cannot be read")
    return sum(len(block.splitlines()) for block in re.findall(r"^COPY [^\n]*;\n(.*?)^\\\.$", text, re.M | re.S))


def _is_kept(entry: str) -> bool:
    """Whether an entry of an archive's list belongs to the store: its schema may hold what is not ours."""
    found = re.match(rf"\d+; \d+ \d+ ({'|'.join(_KINDS)}) \S+ (\S+)", entry)
    return found is not None and (found[1] != "TYPE" or found[2] in _TYPES)


def _is_ours(table: str) -> bool:
    known = {*optuna_metadata.tables, *hpo_metadata.tables, *_OTHERS_OF_OPTUNA}
    return table in known or table.startswith("hpo_")


def _find(program: str, major: int = 0) -> str:
    """The first such program that knows servers of a version."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    for pattern in _FOLDERS:
        folders += sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)
    found = []
    for path in (folder / program for folder in folders):
        if not os.access(path, os.X_OK) or path.is_dir():
            continue
        shown = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"(\d+)(\.\d+)?", shown)
        if version and int(version[1]) >= major:
            return str(path)
        found.append(f"{path} is of version {version[1] if version else 'unknown'}")
    needed = f"version {major} or newer of PostgreSQL's {program}" if major else f"PostgreSQL's {program}"
    seen = f" ({'; '.join(found)})" if found else ""
    raise StoreError(
        f"this needs {needed}, which is not in PATH{seen}: install PostgreSQL's client programs (Debian, Ubuntu: "
        "apt-get install postgresql-client)"
    )


def _run(url: StoreUrl | None, command: Sequence[str], failure: str) -> str:
    """Run a program, for a database if there is a URL; its output."""
    if url is None:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    else:
        address = _connection_string(url)
        arguments = [f"--dbname={address}" if part == "DATABASE" else part for part in command]
        if "DATABASE" not in command:
            arguments.append(f"--dbname={address}")
        with _credentials(url) as environment:
            arguments.insert(1, "--no-password")
            done = subprocess.run(
                arguments, capture_output=True, text=True, errors="replace", env=environment, check=False
            )
    if done.returncode != 0:
        # the first line is the cause, the others are its consequences
        reason = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        raise StoreError(f"{failure}: {reason}")
    return done.stdout


def _connection_string(url: StoreUrl) -> str:
    """libpq's `host=... dbname=...`, without the password."""
    address = make_url(url.reveal())
    parts = {key: value if isinstance(value, str) else ",".join(value) for key, value in address.query.items()}
    parts |= {"dbname": address.database or "", "user": address.username or "", "application_name": "hpo"}
    if address.host:
        parts["host"] = address.host
    if address.port:
        parts["port"] = str(address.port)
    escaped = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in parts.items() if value}
    return " ".join(f"{key}='{value}'" for key, value in escaped.items())


@contextmanager
def _credentials(url: StoreUrl) -> Iterator[dict[str, str]]:
    """An environment for the program: the password is in a file that only this user can read, and only meanwhile."""
    environment = child_environment(url) | {"PGOPTIONS": f"-c lock_timeout={_LOCK_SECONDS}s", "LC_MESSAGES": "C"}
    password = url.password or os.environ.get("PGPASSWORD")
    if password is None:
        if "PGPASSFILE" in os.environ:
            environment["PGPASSFILE"] = os.environ["PGPASSFILE"]
        yield environment
        return
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    descriptor, name = tempfile.mkstemp(prefix="hpo-")  # with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"*:*:*:*:{escaped}\n")
        yield environment | {"PGPASSFILE": name}
    finally:
        Path(name).unlink()
