"""Writes that are sent again with the same `Idempotency-Key` are done once, and answered as the first time.

The answer is kept in the store, in the transaction of the write itself where the write has one: it survives a restart,
and holds for several servers of one store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header, HTTPException, Request
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_settings
from hpo.web.access import Caller

PREFIX = "idempotency/"
SECONDS_KEPT = 24 * 3600.0
MOST_KEPT = 1_000  # of the whole store, the newest
LONGEST = 200  # characters of a key

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=LONGEST,
        description="Any text of your own; the same request with the same key, within a day, is done once.",
    ),
]


@dataclass(frozen=True)
class Once:
    """A write that is done once.

    Attributes:
        row: the key of its row in the store; None for a request without a key.
        request: a digest of what was asked for.
    """

    row: str | None
    request: str

    @staticmethod
    def of(key: str | None, caller: Caller, request: Request, body: bytes | str) -> Once:
        """For a request of a caller: others may use the same key."""
        asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
        asked += body if isinstance(body, bytes) else body.encode(errors="replace")
        row = None if key is None else PREFIX + _digest(f"{caller.name}\n{key}".encode(errors="replace"))
        return Once(row, _digest(asked))

    def do(
        self, store: Store, write: Callable[[Callable[[Connection, Mapping[str, Any]], None]], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """The answer to the request, which is done unless it was done before.

        Args:
            write: does it, and gives the answer, which it hands to its argument within its transaction.

        Raises:
            HTTPException: the key was sent with another request.
        """
        if (before := self._before(store)) is not None:
            return before
        try:
            return write(self._keep)
        except IntegrityError:  # the same request was done at the same time
            if (before := self._before(store)) is None:
                raise
            return before

    def _before(self, store: Store) -> Mapping[str, Any] | None:
        if self.row is None:
            return None
        with store.read() as connection:
            text = connection.scalar(select(hpo_settings.c.value).where(hpo_settings.c.key == self.row))
            now = connection.scalar(select(db_now()))
        kept = None if text is None else json.loads(text)
        if kept is None or kept["moment"] < (now or 0.0) - SECONDS_KEPT:
            return None
        if kept["request"] != self.request:
            raise HTTPException(422, "this Idempotency-Key was sent with another request: choose a new one")
        answer: Mapping[str, Any] = kept["answer"]
        return answer

    def _keep(self, connection: Connection, answer: Mapping[str, Any]) -> None:
        if self.row is None:
            return
        rows = connection.execute(select(hpo_settings).where(hpo_settings.c.key.startswith(PREFIX, autoescape=True)))
        now = float(connection.scalar(select(db_now())) or 0.0)
        moments = sorted(((json.loads(row.value)["moment"], row.key) for row in rows), reverse=True)
        gone = [
            key
            for place, (moment, key) in enumerate(moments, start=2)
            if place > MOST_KEPT or moment < now - SECONDS_KEPT
        ]
        if gone:
            connection.execute(delete(hpo_settings).where(hpo_settings.c.key.in_(gone)))
        value = json.dumps({"moment": now, "request": self.request, "answer": answer})
        connection.execute(insert(hpo_settings).values(key=self.row, value=value))


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
