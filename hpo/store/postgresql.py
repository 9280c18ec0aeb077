"""Connections to PostgreSQL that do not wait for a server longer than its user does.

libpq has a limit of time for connecting only: a server that is suspended, and a pooler that is paused, accept a
statement and never answer, and no keep-alive packet tells.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

from hpo.store.timing import Patience

T = TypeVar("T")


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that is closed, with an error, when the server has not sent anything for too long."""

    patience = Patience()

    def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
        """Consume a generator of psycopg's, see `psycopg.Connection.wait`.

        Raises:
            OperationalError: the server did not answer in time. What it was sent may still be done.
        """
        try:
            return super().wait(_answered(gen, self.patience), *arguments, **named)
        except NoAnswerError:
            self.pgconn.finish()  # the answer would be taken for that of the next statement
            raise


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time."""


def connect_within(patience: Patience, _: object, __: object, arguments: list[Any], named: dict[str, Any]) -> Any:
    """A connection for SQLAlchemy (its event `do_connect`) with this patience, also while it is being opened."""
    if patience.seconds is not None:
        named = {**named, "connect_timeout": max(2, round(patience.seconds))}  # libpq knows no shorter one
    connection = ImpatientConnection.connect(*arguments, **named)
    connection.patience = patience
    return connection


def _answered(gen: Generator[Any, Any, T], patience: Patience) -> Generator[Any, Any, T]:
    """The same generator, which ends with an error when nothing was ready for too long.

    psycopg resumes it several times a second with what is ready of the connection, or with 0 for nothing.
    """
    since = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                since = time.monotonic()
            elif patience.seconds is not None and time.monotonic() - since > patience.seconds:
                raise NoAnswerError(f"the server has not answered for {patience.seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
