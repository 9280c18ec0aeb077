"""PostgreSQL's pg_dump and pg_restore: finds them, and runs them without exposing the password."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, Enum, text
from sqlalchemy.engine import make_url

from hpo.errors import StoreError
from hpo.store.engine import read
from hpo.store.schema import VERSION_TABLE
from hpo.store.tables import hpo_metadata, optuna_metadata
from hpo.store.url import StoreUrl, child_environment

# where distributions install them outside of PATH
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_LOCK_SECONDS = 10

_KINDS = (
    *("TYPE", "TABLE DATA", "TABLE", "DEFAULT", "CONSTRAINT", "FK CONSTRAINT", "INDEX"),
    *("SEQUENCE OWNED BY", "SEQUENCE SET", "SEQUENCE"),
)
# a sequence belongs to the table whose column it numbers
_RELATIONS = text("""
    SELECT relation.relname AS name, coalesce(owner.relname, relation.relname) AS table
    FROM pg_class AS relation
    LEFT JOIN pg_depend ON relation.relkind = 'S' AND pg_depend.objid = relation.oid
        AND pg_depend.classid = 'pg_class'::regclass AND pg_depend.refclassid = 'pg_class'::regclass
        AND pg_depend.deptype IN ('a', 'i')
    LEFT JOIN pg_class AS owner ON owner.oid = pg_depend.refobjid
    WHERE relation.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
        AND relation.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
""")
_TYPES = {
    column.type.name
    for table in optuna_metadata.tables.values()
    for column in table.columns
    if isinstance(column.type, Enum)
}

# Optuna's tables that we do not use are part of a store, too
_OTHERS_OF_OPTUNA = ("alembic_version", "version_info", "trial_heartbeats", "trial_constraints")


def dump(url: StoreUrl, engine: Engine, file: Path) -> None:
    """Write one snapshot of the store's tables into an archive.

    Raises:
        StoreError: there is no pg_dump, it is older than the server, or it fails.
    """
    with read(engine) as connection:
        major = _major(connection)
        schema = str(connection.exec_driver_sql("SELECT current_schema()").scalar())
        relations = connection.execute(_RELATIONS).all()
    foreign = [relation.name for relation in relations if not _is_ours(relation.table)]
    excluded = [f'--exclude-table="{schema}"."{name}"' for name in foreign]
    options = ["--format=custom", "--no-owner", "--no-privileges", f'--schema="{schema}"', *excluded]
    _run(url, [_find("pg_dump", major), *options, f"--file={file}"], f"the store {url} cannot be backed up")


def restore(url: StoreUrl, engine: Engine, file: Path) -> None:
    """Replace the store's tables by the archive's, in one transaction.

    Raises:
        StoreError: there is no pg_restore, or it fails; nothing has changed then.
    """
    with read(engine) as connection:
        program = _find("pg_restore", _major(connection))
    entries = _run(None, [program, "--list", str(file)], f"{file} cannot be read")
    kept = [line for line in entries.splitlines() if _is_kept(line)]
    with tempfile.TemporaryDirectory() as folder:
        use_list = Path(folder) / "entries"
        use_list.write_text("\n".join(kept), encoding="utf-8")
        options = ["--single-transaction", "--exit-on-error", "--clean", "--if-exists", "--no-owner", "--no-privileges"]
        command = [program, *options, f"--use-list={use_list}"]
        _run(url, [*command, "DATABASE", str(file)], f"the store {url} cannot be restored, and is unchanged")


def contents(file: Path) -> tuple[str, int, int]:
    """(revision, studies, trials) of an archive, which is read completely.

    Raises:
        StoreError: it is truncated, or not an archive of a store.
    """
    failure = f"{file} is damaged or truncated"
    program = _newest("pg_restore")
    entries = _run(None, [program, "--list", str(file)], failure)
    if not re.search(rf"TABLE DATA \S+ {VERSION_TABLE} ", entries):
        raise StoreError(f"{file} is not a backup of a store: it is an archive of another database")
    _run(None, [program, f"--file={os.devnull}", str(file)], failure)
    [revision] = _rows(program, file, VERSION_TABLE) or ["none"]
    return revision, len(_rows(program, file, "studies")), len(_rows(program, file, "trials"))


def _rows(program: str, file: Path, table: str) -> list[str]:
    listing = _run(None, [program, "--data-only", f"--table={table}", "--file=-", str(file)], f"{file} cannot be read")
    blocks = re.findall(r"^COPY [^\n]*;\n(.*?)^\\\.$", listing, re.M | re.S)
    return [line for block in blocks for line in block.split("\n")[:-1]]


def _major(connection: Connection) -> int:
    return int(str(connection.exec_driver_sql("SHOW server_version_num").scalar())) // 10_000


def _is_kept(entry: str) -> bool:
    """Whether an entry of an archive's list belongs to the store: its schema may hold other objects."""
    found = re.match(rf"\d+; \d+ \d+ ({'|'.join(_KINDS)}) \S+ (\S+)", entry)
    return found is not None and (found[1] != "TYPE" or found[2] in _TYPES)


def _is_ours(table: str) -> bool:
    known = {*optuna_metadata.tables, *hpo_metadata.tables, *_OTHERS_OF_OPTUNA}
    return table in known or table.startswith("hpo_")


def _find(program: str, major: int) -> str:
    """The program of the server's version, or else of the next newer version installed.

    An older pg_dump refuses the server, and a server may not know the commands of a much newer pg_restore.
    """
    found = _installed(program)
    for version, path in found:
        if version >= major:
            return path
    seen = f" ({'; '.join(f'{path} is of version {version}' for version, path in found)})" if found else ""
    raise _missing(f"version {major} or newer of PostgreSQL's {program}", seen)


def _newest(program: str) -> str:
    """The newest version installed, which reads the archives of all versions."""
    found = _installed(program)
    if not found:
        raise _missing(f"PostgreSQL's {program}", "")
    return found[-1][1]


def _missing(program: str, seen: str) -> StoreError:
    return StoreError(
        f"this needs {program}, which is not in PATH{seen}: install PostgreSQL's client programs (Debian, Ubuntu: "
        "apt-get install postgresql-client)"
    )


def _installed(program: str) -> list[tuple[int, str]]:
    """(version, path) of each such program, the oldest first; equal versions in the order of PATH."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    for pattern in _FOLDERS:
        folders += sorted(Path("/").glob(pattern.removeprefix("/")))
    found = []
    for path in dict.fromkeys(folder / program for folder in folders):
        if os.access(path, os.X_OK) and path.is_file():
            shown = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False).stdout
            if version := re.search(r"\d+", shown):
                found.append((int(version[0]), str(path)))
    return sorted(found, key=lambda each: each[0])


def _run(url: StoreUrl | None, command: Sequence[str], failure: str) -> str:
    """The output of a program, which gets the database's address if there is a URL."""
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
    """An environment for the program, with the password in a temporary file that only this user can read."""
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
