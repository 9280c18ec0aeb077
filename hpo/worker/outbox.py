"""The queue of a worker's writes: training continues while the store is unreachable.

Writes are queued in order and committed together, in one transaction, a moment after the first of them was queued, or
as soon as the store is reachable again. All other access of a worker to the store passes through here too, so that an
outage is detected once, logged once a minute, and retried after pauses that grow with each failure.
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
WARN_EVERY_SECONDS = 60.0

# Of a row that cannot be written; drivers raise their own for a text or number that a database cannot store.
_REFUSALS = (SQLAlchemyError, ValueError, OverflowError)


@dataclass(frozen=True)
class _Write:
    run: Callable[[Connection], bool]
    then: Callable[[bool], None]


class Outbox:
    """All access of a worker to its store.

    Args:
        on_return: called first, when the store is tried again after an outage.

    Attributes:
        is_up: the last attempt reached the store.
    """

    def __init__(self, store: Store, *, on_return: Callable[[], None] = lambda: None) -> None:
        self.is_up = True
        self._store = store
        self._on_return = on_return
        self._waiting: deque[_Write] = deque()
        self._callbacks: deque[tuple[Callable[[bool], None], bool]] = deque()  # of committed writes, not called yet
        self._due: float | None = None  # monotonic; None while nothing waits
        self._next_try = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._up_since = float("-inf")
        self._warned_at = -WARN_EVERY_SECONDS

    def put(
        self, run: Callable[[Connection], bool], *, then: Callable[[bool], None] = lambda _: None, now: bool = False
    ) -> None:
        """Queue a write.

        Args:
            run: writes, and returns whether the lease was ours.
            then: called with that result after the commit.
            now: do not wait for other writes to share the transaction.
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
        return not self._waiting and not self._callbacks

    @property
    def knows_leases(self) -> bool:
        """Whether the store has been reachable for long enough that every living worker has renewed its leases."""
        return self.is_up and time.monotonic() - self._up_since > self._store.timing.lease

    def flush(self) -> bool:
        """Write the queue. False while the store is unreachable: the writes stay queued."""
        if self.is_empty:
            return True
        return self.attempt(lambda: True) is not None

    def attempt(self, action: Callable[[], T]) -> T | None:
        """Write the queue, then run the action; its result, or None while the store is unreachable."""
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
            self.mark_down(self._describe(error))
            return None
        if not self.is_up:
            log.warning("the store answers again; the queued reports are written")
            self.is_up, self._pause, self._up_since = True, FIRST_PAUSE_SECONDS, time.monotonic()
            self._warned_at = -WARN_EVERY_SECONDS
        return result

    def _write_all(self) -> None:
        self._notify()
        batch = list(self._waiting)
        if not batch:
            return
        try:
            with self._store.write() as connection:
                results = [write.run(connection) for write in batch]
        except _REFUSALS as error:
            if _is_outage(error) or len(batch) == 1:
                if not _is_outage(error):  # the row itself is invalid: a retry does not help
                    self._done(1)
                    log.exception("a report could not be written and is lost")
                    batch[0].then(False)
                    return
                raise
            self._write_one_by_one(batch)
            return
        self._done(len(batch))
        self._callbacks.extend((write.then, is_ours) for write, is_ours in zip(batch, results, strict=True))
        self._notify()

    def _notify(self) -> None:
        """Call back for committed writes. A callback may find the store unreachable: the others stay queued."""
        while self._callbacks:
            then, is_ours = self._callbacks.popleft()
            then(is_ours)

    def _write_one_by_one(self, batch: list[_Write]) -> None:
        """Write each on its own, after one of them was refused: the others are not lost."""
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

    def _describe(self, error: SQLAlchemyError) -> str:
        password = self._store.url.password
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        is_secret = password is not None and password in reason
        return f"the store {self._store.url} is unreachable" + ("" if is_secret else f" ({reason})")

    def _done(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._due = time.monotonic() if self._waiting else None

    def mark_down(self, reason: str) -> None:
        """The store, or something else that a claim needs, such as disk space, is missing: pause before a retry."""
        now = time.monotonic()
        self.is_up = False
        # Jitter: workers that lost the store together should not come back together.
        self._next_try = now + self._pause * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if now - self._warned_at >= WARN_EVERY_SECONDS:
            self._warned_at = now
            log.warning("%s: training continues, %d reports wait, no trials are claimed", reason, len(self._waiting))


def _is_outage(error: Exception) -> bool:
    return isinstance(error, SQLAlchemyError) and is_outage(error)
