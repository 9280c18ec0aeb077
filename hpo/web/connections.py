"""The server's connections, which are bounded: none that only waits keeps others out.

uvicorn waits without limit for a request that does not come, or comes byte by byte, and for a browser that takes
nothing of its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

# A browser opens up to six connections, most of which only wait.
MOST_CONNECTIONS = 256  # of which the one that waits for longest makes room for a new one
SECONDS_TO_ASK = 15.0  # from the connection, or the last answer, to the end of a request
SECONDS_TO_READ = 30.0  # in which a browser takes nothing of its answer
SECONDS_TO_END = 3  # for answers that are being sent when the server is asked to end
MOST_BYTES_OF_HEADERS = 64 * 1024


def settings(
    app: ASGIApp, *, proxies: Sequence[str] = (), connection: type[Connection] | None = None
) -> uvicorn.Config:
    """What uvicorn is told.

    Args:
        proxies: addresses whose `X-Forwarded-For` is trusted.
    """
    return uvicorn.Config(
        app,
        http=connection or Connection,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,  # would reveal the server's name
        timeout_keep_alive=3600,  # `Connection` ends what waits
        timeout_graceful_shutdown=SECONDS_TO_END,
        h11_max_incomplete_event_size=MOST_BYTES_OF_HEADERS,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
    )


class Connection(H11Protocol):
    """A connection that is closed when it waits for too long, or for longest where there are too many."""

    seconds_to_ask = SECONDS_TO_ASK
    seconds_to_read = SECONDS_TO_READ
    _asking: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _waits_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there, and a request has to follow."""
        super().connection_made(transport)
        open_ones = list(self._open_ones())
        if len(open_ones) > MOST_CONNECTIONS:
            waiting = [one for one in open_ones if one is not self and one.waits]
            if waiting:
                min(waiting, key=lambda one: one._waits_since).end()
            elif len(open_ones) > 2 * MOST_CONNECTIONS:
                self.end()
                return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        for timer in (self._asking, self._reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """It may be kept for the next request."""
        self._expect()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The browser does not take what it was sent."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.seconds_to_read, self._look_whether_it_reads, self._unsent)

    def resume_writing(self) -> None:
        """The browser has taken most of it."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
            if self.cycle is not None and self.cycle.response_complete:
                self._expect()
        super().resume_writing()

    @property
    def waits(self) -> bool:
        """Whether no request of it is complete, and none is answered."""
        is_answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        return not is_answered and self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def end(self) -> None:
        """Close it now: what is left of an answer is not sent."""
        self.transport.abort()

    def _expect(self) -> None:
        self._waits_since = self.loop.time()
        if self._asking is not None:
            self._asking.cancel()
        self._asking = self.loop.call_later(self.seconds_to_ask, self._give_up)

    def _give_up(self) -> None:
        if self._unsent and self._reading is None:  # the end of an answer, which is complete here
            self._reading = self.loop.call_later(self.seconds_to_read, self._look_whether_it_reads, self._unsent)
        elif self.waits and not self._unsent:
            self.end()

    def _look_whether_it_reads(self, before: int) -> None:
        """
        Args:
            before: bytes that were not taken at the last look.
        """
        left, self._reading = self._unsent, None
        if left >= before:
            self.end()
        elif left:
            self._reading = self.loop.call_later(self.seconds_to_read, self._look_whether_it_reads, left)
        else:
            self._expect()

    @property
    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _open_ones(self) -> Iterator[Any]:
        return (one for one in self.connections if isinstance(one, Connection) and not one.transport.is_closing())
