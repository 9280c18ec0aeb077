"""Pages that go on by themselves: server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html.

All who watch a page share one feed: it reads the store once an interval, however many they are, and ends with the last
of them. A feed that takes long to read reads less often, so that watching costs a search next to nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import dataclass, field

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import HpoError
from hpo.web.ops.pages import status_and_words

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
HEARTBEAT_SECONDS = 15.0
SECONDS_OF_A_LISTENER = 300.0  # then a browser comes again, and what its user may do is looked up again
MOST_LISTENERS = 100
READERS = 4  # threads of all feeds: a store that hangs leaves the others to the pages
SHARE_OF_READING = 0.02  # of a core's time, but at least twice a minute

UPDATE, PROBLEM, GONE = "update", "problem", "gone"


class GoneError(Exception):
    """What a page shows is no longer there."""


class TooManyError(Exception):
    """No further listener is taken."""


@dataclass(frozen=True)
class Event:
    """What a page is told.

    Attributes:
        data: of an update, HTML; otherwise a sentence.
    """

    kind: str
    data: str

    def __str__(self) -> str:
        # JSON has no line feed, which would end the event
        return f"event: {self.kind}\ndata: {json.dumps(self.data)}\n\n"


@dataclass
class Feed:
    """A page, for all who watch it.

    Attributes:
        read: makes the page's changing part, in a thread.
        version: counts the events.
        news: set when there is a later one.
    """

    read: Callable[[], str]
    listeners: int = 0
    event: Event | None = None
    version: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def tell(self, event: Event) -> None:
        """Let all listeners know."""
        self.event, self.version = event, self.version + 1
        news, self.news = self.news, asyncio.Event()
        news.set()


class Feeds:
    """The feeds of a server."""

    def __init__(
        self,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        most: int = MOST_LISTENERS,
    ) -> None:
        self._interval, self._heartbeat, self._most = interval_seconds, heartbeat_seconds, most
        self._feeds: dict[Hashable, Feed] = {}
        self._readers: CapacityLimiter | None = None
        self._listeners = 0
        self._is_ended = False

    def listen(self, key: Hashable, read: Callable[[], str]) -> AsyncGenerator[str, None]:
        """The events of a page, as text, and a comment now and then, by which a dead connection is noticed.

        Args:
            key: of the page; whoever listens to an equal one shares its feed.
            read: makes the changing part of the page; its GoneError ends the feed.

        Raises:
            TooManyError: as many listen as may.
        """
        if self._listeners >= self._most:
            raise TooManyError
        return self._events(key, read)

    def end(self) -> None:
        """End all streams, which a server that is to end would wait for; within its event loop."""
        self._is_ended = True
        for feed in self._feeds.values():
            feed.news.set()

    async def _events(self, key: Hashable, read: Callable[[], str]) -> AsyncGenerator[str, None]:
        if self._listeners >= self._most:  # others have come since
            return
        feed = self._feeds.setdefault(key, Feed(read))
        self._listeners += 1
        feed.listeners += 1
        try:
            if feed.task is None:
                feed.task = asyncio.create_task(self._keep_reading(feed))
            seen, until = 0, time.monotonic() + SECONDS_OF_A_LISTENER
            yield "retry: 3000\n\n"
            while time.monotonic() < until and not self._is_ended:
                if feed.version == seen:
                    try:
                        async with asyncio.timeout(self._heartbeat):
                            await feed.news.wait()
                    except TimeoutError:
                        yield ": still here\n\n"
                    continue
                seen, event = feed.version, feed.event
                if event is not None:
                    yield str(event)
                    if event.kind == GONE:
                        return
        finally:
            self._listeners -= 1
            feed.listeners -= 1
            if not feed.listeners:
                self._feeds.pop(key, None)
                if feed.task is not None:
                    feed.task.cancel()

    async def _keep_reading(self, feed: Feed) -> None:
        while True:
            event, took = await self._read(feed)
            if event != feed.event:
                feed.tell(event)
            if event.kind == GONE:
                return
            await asyncio.sleep(max(self._interval, min(took / SHARE_OF_READING, 30.0)))

    async def _read(self, feed: Feed) -> tuple[Event, float]:
        """What there is to tell, and the seconds of a core that it took."""
        if self._readers is None:
            self._readers = CapacityLimiter(READERS)  # which belongs to the loop
        return await to_thread.run_sync(_event_of, feed.read, limiter=self._readers)


def _event_of(read: Callable[[], str]) -> tuple[Event, float]:
    began = time.thread_time()
    try:
        event = Event(UPDATE, read())
    except GoneError as error:
        event = Event(GONE, str(error))
    except (HpoError, SQLAlchemyError) as error:
        event = Event(PROBLEM, status_and_words(error)[1])
    except Exception:
        log.exception("a page that is watched cannot be made")
        event = Event(PROBLEM, "this page cannot be made at the moment; the server's log says why")
    return event, time.thread_time() - began
