"""What a worker still has to write: the store may be away, and training goes on.

Writes wait here in their order. They are written together, in one transaction, a moment after the first of them came,
or as soon as the store is back. Everything else that a worker wants of the store passes the same gate, so an outage is
noticed once, told once a minute, and left alone for a while that grows with every failed attempt.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from hpo.store import Store
from hpo.store.engine import is_outage

log = logging.getLogger(__name__)

T = TypeVar("T")

# Epochs of short trials follow each other within milliseconds: one transaction serves several.
GATHER_SECONDS = 0.3
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
TELL_EVERY_SECONDS = 60.0

# Of a row that cannot be written; drivers raise their own where a text or a number has no place in a database.
_REFUSALS = (SQLAlchemyError, ValueError, OverflowError)


@dataclass(frozen=True)
class _Write:
    run: Callable[[Connection], bool]
    then: Callable[[bool], None]


class Outbox:
    """The gate between a worker and its store.

    Attributes:
        is_up: the store answered the last time.
    """

    def __init__(self, store: Store, *, on_return: Callable[[], None] = lambda: None) -> None:
        self.is_up = True
        self._store = store
        self._on_return = on_return
        self._waiting: deque[_Write] = deque()
        self._verdicts: deque[tuple[Callable[[bool], None], bool]] = deque()  # of what is committed, not told yet
        self._due: float | None = None  # monotonic; None while nothing waits
        self._next_try = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._up_since = float("-inf")
        self._told_at = -TELL_EVERY_SECONDS

    def put(
        self, run: Callable[[Connection], bool], *, then: Callable[[bool], None] = lambda _: None, now: bool = False
    ) -> None:
        """Write this in its turn.

        Args:
            run: writes, and says whether the lease was ours.
            then: is told that, when it is committed.
            now: do not wait for others to join it.
        """
        self._waiting.append(_Write(run, then))
        due = time.monotonic() + (0.0 if now else GATHER_SECONDS)
        self._due = due if self._due is None else min(self._due, due)

    @property
    def due(self) -> float | None:
        """When to flush, by the monotonic clock; None while nothing waits."""
        if self._due is None:
            return None
        return self._due if self.is_up else max(self._due, self._next_try)

    @property
    def is_empty(self) -> bool:
        return not self._waiting and not self._verdicts

    @property
    def knows_leases(self) -> bool:
        """Whether the store has been there for long enough that every living worker has renewed its leases."""
        return self.is_up and time.monotonic() - self._up_since > self._store.timing.lease

    def flush(self) -> bool:
        """Write what waits. False when the store is away: it waits on."""
        if self.is_empty:
            return True
        return self.attempt(lambda: True) is not None

    def attempt(self, action: Callable[[], T]) -> T | None:
        """What the action gives, after everything that waited was written; None when the store is away."""
        if not self.is_up and time.monotonic() < self._next_try:
            return None
        try:
            if not self.is_up:
                self._on_return()
            self._write_all()
            result = action()
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            self.went_down(self._told(error))
            return None
        if not self.is_up:
            log.warning("the store answers again; writing what waited")
            self.is_up, self._pause, self._up_since = True, FIRST_PAUSE_SECONDS, time.monotonic()
            self._told_at = -TELL_EVERY_SECONDS
        return result

    def _write_all(self) -> None:
        self._tell()
        batch = list(self._waiting)
        if not batch:
            return
        try:
            with self._store.write() as connection:
                verdicts = [write.run(connection) for write in batch]
        except _REFUSALS as error:
            if _is_outage(error) or len(batch) == 1:
                if not _is_outage(error):  # the row itself cannot be written: waiting does not help
                    self._done(1)
                    log.exception("a report could not be written and is lost")
                    batch[0].then(False)
                    return
                raise
            self._write_one_by_one(batch)
            return
        self._done(len(batch))
        self._verdicts.extend((write.then, is_ours) for write, is_ours in zip(batch, verdicts, strict=True))
        self._tell()

    def _tell(self) -> None:
        """Whoever is told may want the store, and find it away: the others are told when it is back."""
        while self._verdicts:
            then, is_ours = self._verdicts.popleft()
            then(is_ours)

    def _write_one_by_one(self, batch: list[_Write]) -> None:
        """After one of several writes was refused: the others are written all the same."""
        for write in batch:
            try:
                with self._store.write() as connection:
                    is_ours = write.run(connection)
            except _REFUSALS as error:
                if _is_outage(error):
                    raise
                log.exception("a report could not be written and is lost")
                is_ours = False
            self._done(1)
            write.then(is_ours)

    def _told(self, error: SQLAlchemyError) -> str:
        password = self._store.url.password
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        is_secret = password is not None and password in reason
        return f"the store {self._store.url} is away" + ("" if is_secret else f" ({reason})")

    def _done(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._due = time.monotonic() if self._waiting else None

    def went_down(self, reason: str) -> None:
        """Something that a claim needs is away, such as room on the disk: leave it alone for a while."""
        now = time.monotonic()
        self.is_up = False
        # Jitter: workers that lost the store together should not come back together.
        self._next_try = now + self._pause * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if now - self._told_at >= TELL_EVERY_SECONDS:
            self._told_at = now
            log.warning("%s: training goes on, %d reports wait, no new trials are claimed", reason, len(self._waiting))


def _is_outage(error: Exception) -> bool:
    return isinstance(error, SQLAlchemyError) and is_outage(error)
