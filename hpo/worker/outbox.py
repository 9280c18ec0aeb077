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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from hpo.store import Store
from hpo.store.engine import is_damaged, is_outage, store_errors, transaction_mark, was_committed

log = logging.getLogger(__name__)

T = TypeVar("T")

# Epochs of short trials follow each other within milliseconds: one transaction serves several.
GATHER_SECONDS = 0.3
FIRST_PAUSE_SECONDS = 0.5
WARN_EVERY_SECONDS = 60.0

# Of a row that cannot be written; drivers raise their own for a text or number that a database cannot store.
_REFUSALS = (SQLAlchemyError, ValueError, OverflowError)


@dataclass(frozen=True)
class _Write:
    run: Callable[[Connection], bool]
    then: Callable[[bool], None]
    is_repeatable: bool


class Outbox:
    """All access of a worker to its store.

    Args:
        on_return: called first, when the store is tried again after an outage.

    Attributes:
        is_up: the last attempt reached the store.
    """

    def __init__(self, store: Store, *, on_return: Callable[[], None] = lambda: None) -> None:
        store.patience.seconds = store.timing.answer
        self.is_up = True
        self._store = store
        self._on_return = on_return
        self._waiting: deque[_Write] = deque()
        self._callbacks: deque[tuple[Callable[[bool], None], bool]] = deque()  # of committed writes, not called yet
        self._due: float | None = None  # monotonic; None while nothing waits
        self._next_try = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._answered_at = self._up_since = time.monotonic()
        self._failed_at: float | None = None
        self._doubtful: tuple[int, list[bool]] | None = None
        self._warned_at = -WARN_EVERY_SECONDS

    def put(
        self,
        run: Callable[[Connection], bool],
        *,
        then: Callable[[bool], None] = lambda _: None,
        now: bool = False,
        is_repeatable: bool = True,
    ) -> None:
        """Queue a write.

        Args:
            run: writes, and returns whether the lease was ours.
            then: called with that result after the commit.
            now: do not wait for other writes to share the transaction.
            is_repeatable: a second time, it writes and returns the same.
        """
        self._waiting.append(_Write(run, then, is_repeatable))
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
    def may_have_missed_an_answer(self) -> bool:
        """Whether the store was unreachable a moment ago: it may do what it was asked to, after it was given up."""
        return self._failed_at is not None and not self.knows_leases

    @property
    def knows_leases(self) -> bool:
        """Whether the store has answered for long enough that every living worker has renewed its leases.

        Workers that wait for the store try again after the length of a lease at most, and wait for an answer then.
        """
        timing = self._store.timing
        return self.is_up and time.monotonic() - self._up_since > timing.lease + timing.answer

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
                with store_errors(self._store.url):
                    raise
            self.mark_down(self._describe(error))
            return None
        now = time.monotonic()
        if now - self._answered_at > self._store.timing.stall:
            self._up_since = now  # this process, or the store, stood still: so may others have
        self._answered_at = now
        if not self.is_up:
            log.warning("the store answers again; the queued reports are written")
            self.is_up, self._pause, self._up_since = True, FIRST_PAUSE_SECONDS, now
            self._warned_at = -WARN_EVERY_SECONDS
        return result

    def _write_all(self) -> None:
        self._notify()
        self._settle_doubt()
        batch = list(self._waiting)
        if not batch:
            return
        mark: int | None = None
        results: list[bool] = []
        try:
            with self._store.write() as connection:
                results = [write.run(connection) for write in batch]
                if not all(write.is_repeatable for write in batch):
                    mark = transaction_mark(connection)
        except _REFUSALS as error:
            is_of_store = _is_outage(error) or is_damaged(error)
            if is_of_store or len(batch) == 1:
                if not is_of_store:  # the row itself is invalid: a retry does not help
                    self._done(1)
                    self._tell_lost(error)
                    batch[0].then(False)
                    return
                if mark is not None:
                    self._doubtful = mark, results
                raise
            self._write_one_by_one(batch)
            return
        self._take(results)

    def _settle_doubt(self) -> None:
        """A commit whose answer was lost may have been done: then its writes are not repeated."""
        if self._doubtful is None:
            return
        mark, results = self._doubtful
        with self._store.read() as connection:
            is_committed = was_committed(connection, mark)
        self._doubtful = None
        if is_committed:
            self._take(results)

    def _take(self, results: Sequence[bool]) -> None:
        """The first of the waiting writes are committed, with these results."""
        writes = [self._waiting[place] for place in range(len(results))]
        self._done(len(results))
        self._callbacks.extend((write.then, is_ours) for write, is_ours in zip(writes, results, strict=True))
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
                if _is_outage(error) or is_damaged(error):
                    raise
                self._tell_lost(error)
                is_ours = False
            self._done(1)
            write.then(is_ours)

    def _tell_lost(self, error: Exception) -> None:
        log.error("a report could not be written and is lost: the store refuses it%s", self._reason(error))

    def _describe(self, error: SQLAlchemyError) -> str:
        return f"the store {self._store.url} is unreachable{self._reason(error)}"

    def _reason(self, error: Exception) -> str:
        """In brackets; empty if it has the password."""
        password = self._store.url.password
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        return "" if password is not None and password in reason else f" ({reason})"

    def _done(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._due = time.monotonic() if self._waiting else None

    def mark_down(self, reason: str) -> None:
        """The store, or something else that a claim needs, such as disk space, is missing: pause before a retry."""
        now = time.monotonic()
        self.is_up, self._failed_at = False, now
        # Jitter: workers that lost the store together should not come back together.
        self._next_try = now + self._pause * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
        # With the jitter, the next try comes within a lease: others wait so long before they end this worker's leases.
        self._pause = min(2 * self._pause, self._store.timing.lease / 2)
        if now - self._warned_at >= WARN_EVERY_SECONDS:
            self._warned_at = now
            log.warning("%s: training continues, %d reports wait, no trials are claimed", reason, len(self._waiting))


def _is_outage(error: Exception) -> bool:
    return isinstance(error, SQLAlchemyError) and is_outage(error)
