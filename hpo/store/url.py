"""The store's URL: validated, shown without its password, and withheld from trial processes.

Any message may end up in a log or an issue, so none quotes a text that could not be parsed: in a misspelt URL the
password can stand where the host or the port should be.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hpo.errors import StoreError
from hpo.ipc.environment import PASSWORD_FILE as _PASSWORD_FILE
from hpo.ipc.environment import clean_environment

__all__ = ["StoreUrl", "child_environment"]

_FORMS = "sqlite:///hpo.db or postgresql://USER:PASSWORD@HOST/DATABASE"
_POSTGRESQL = ("postgresql", "postgresql+psycopg")


@dataclass(frozen=True, repr=False)
class StoreUrl:
    """A valid URL of a store; `str` and `repr` show it without its password."""

    _url: URL = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, base: Path | None = None) -> StoreUrl:
        """Parse a user's text: a `sqlite:///` or `postgresql://` URL, or the bare path of a SQLite file.

        Relative paths start at `base`, the current folder by default. When a PostgreSQL URL has no password, it is
        read from the file that `?password_file=` or HPO_STORE_PASSWORD_FILE names.

        Raises:
            StoreError: the text is not a URL of a store that we can open, or the password file cannot be read.
        """
        text = text.strip()
        base = (base or Path.cwd()).resolve()
        if not text:
            raise StoreError(f"the store's URL is empty: write {_FORMS}")
        if any(ord(character) < 32 for character in text):
            raise StoreError("the store's URL contains a line break or another control character")
        if "://" not in text:
            return cls(_sqlite_url(_bare_path(text), base))
        scheme = text.partition("://")[0]
        if scheme != "sqlite" and scheme not in _POSTGRESQL:
            shown = f" '{scheme}'" if re.fullmatch(r"[a-z0-9+]{1,30}", scheme) else ""
            raise StoreError(f"the store's URL has the unknown scheme{shown}: write {_FORMS}")
        url = _parse(text)
        if scheme == "sqlite":
            return cls(_sqlite_url(_sqlite_path(url), base))
        return cls(_postgresql_url(url, base))

    def reveal(self) -> str:
        """The URL with its password, to connect with; not for messages or logs."""
        return self._url.render_as_string(hide_password=False)

    @property
    def password(self) -> str | None:
        return None if self._url.password is None else str(self._url.password)

    @property
    def is_sqlite(self) -> bool:
        return self._url.drivername == "sqlite"

    @property
    def path(self) -> Path:
        """The file of a SQLite store."""
        assert self.is_sqlite
        return Path(self._url.database or "")

    @property
    def place(self) -> str:
        """The store's place, for messages: the file, or database, host and port."""
        if self.is_sqlite:
            return str(self.path)
        hosts = self._url.query.get("host", self._url.host or os.environ.get("PGHOST", "the local socket"))
        host = hosts if isinstance(hosts, str) else ", ".join(hosts)
        ports = self._url.query.get("port", str(self._url.port or os.environ.get("PGPORT", "5432")))
        port = ports if isinstance(ports, str) else ", ".join(ports)
        return f"database '{self._url.database}' on {host}, port {port}"

    @property
    def without_password(self) -> str:
        """The URL to write into a command; its user gives the password as a file (HPO_STORE_PASSWORD_FILE)."""
        return self._shown._replace(password=None).render_as_string()

    @property
    def _shown(self) -> URL:
        where = {key: value for key, value in self._url.query.items() if key in ("host", "port")}
        return self._url.set(drivername=self._url.drivername.partition("+")[0], query=where)

    def __str__(self) -> str:
        return self._shown.render_as_string(hide_password=True)

    def __repr__(self) -> str:
        return f"StoreUrl({str(self)!r})"


def child_environment(url: StoreUrl | None) -> dict[str, str]:
    """This process's environment without the store's credentials, for trial processes."""
    return clean_environment(None if url is None else url.password)


def _parse(text: str) -> URL:
    if text.startswith("postgresql") and text.count("@") > 1:
        # the text between the two '@' would be parsed as the host, and shown in every message
        raise StoreError("the store's URL has more than one '@': write an '@' within a password as %40")
    url = None
    # the original message quotes the text, and would stay reachable from an error raised in its handler
    with suppress(ArgumentError, ValueError):
        url = make_url(text)
    if url is None:
        raise StoreError(
            f"the store's URL cannot be read: the port must be a number, and the whole look like {_FORMS}; "
            "special characters within a password are written as %40 for '@', %3A for ':', %2F for '/'",
        )
    return url


def _bare_path(text: str) -> str:
    if "@" in text or ":" in text:
        raise StoreError(f"the store's URL has no '://': write {_FORMS}")
    return text


def _sqlite_path(url: URL) -> str:
    if url.host or url.username or url.port:
        raise StoreError(
            "a SQLite URL has three slashes before a relative path and four before an absolute one: "
            "sqlite:///hpo.db, sqlite:////data/hpo.db",
        )
    if url.query:
        raise StoreError("a SQLite URL takes no options after '?': all processes use the same settings")
    return url.database or ":memory:"


def _sqlite_url(text: str, base: Path) -> URL:
    if text == ":memory:" or text.startswith("file:"):
        raise StoreError(
            "a store must be a file, not ':memory:': workers and the command line share it between processes; "
            "write sqlite:///hpo.db",
        )
    # not resolved further: a symbolic link to the store must be followed when it is opened, not now
    return URL.create("sqlite", database=str(base / Path(text).expanduser()))


def _postgresql_url(url: URL, base: Path) -> URL:
    if not url.database:
        raise StoreError("the store's URL names no database: write postgresql://USER:PASSWORD@HOST/DATABASE")
    if url.host and not re.fullmatch(r"[A-Za-z0-9._:%-]+", url.host):
        raise StoreError("the store's URL has a host name with invalid characters")
    query = dict(url.query)
    if "sslpassword" in query:
        raise StoreError("the store's URL has 'sslpassword': use a key file without a password (sslkey=FILE)")
    password: object = query.pop("password", None) or url.password
    file = query.pop("password_file", None)
    if password is None:
        file = file or os.environ.get(_PASSWORD_FILE)
        password = _password_from(file, base) if file else None
    elif file is not None:
        raise StoreError("the store's URL has a password and a password_file: keep one of them")
    if not isinstance(password, str | None):
        raise StoreError("the store's URL gives its password more than once")
    if password and not url.username:
        username = query.pop("user", None)
        if not isinstance(username, str):
            raise StoreError("the store's URL has a password, but no user: write postgresql://USER@HOST/DATABASE")
        url = url.set(username=username)
    return url.set(drivername="postgresql+psycopg", password=password or None, query=query)


def _password_from(file: str | tuple[str, ...], base: Path) -> str:
    if not isinstance(file, str):
        raise StoreError("the store's URL has more than one password_file")
    path = base / file
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StoreError(f"the store's password file {path} cannot be read: {reason}") from None
    if not password:
        raise StoreError(f"the store's password file {path} is empty")
    return password
