"""The dashboard's web server, with bounded connections: none that only waits keeps others out.

Waitress reads and answers in one loop, and works in a few threads. By itself it takes no new connection while it has a
hundred, and keeps one that says nothing for minutes, so a hundred half-open ones would end the service.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server

from hpo.errors import HpoError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# A browser opens up to six connections, most of which only wait; each thread may use a database connection.
THREADS = 4
MOST_CONNECTIONS = 100  # of which the one that waits for longest makes room for a new one
SECONDS_TO_ASK = 15.0  # from the connection, or the last answer, to the end of a request
SECONDS_TO_READ = 30.0  # in which a browser takes nothing of its answer


def listen(app: WSGIApplication, host: str, port: int, *, seconds_to_ask: float = SECONDS_TO_ASK) -> Any:
    """A server that listens; its `run` serves.

    Raises:
        HpoError: it cannot listen on this host and port.
    """
    sockets: dict[int, Any] = {}
    try:
        server = create_server(
            app,
            map=sockets,
            host=host,
            port=port,
            threads=THREADS,
            ident=None,  # would reveal the server's name
            max_request_header_size=64 * 1024,
            max_request_body_size=64 * 1024,  # requests to read need no large one
            connection_limit=2 * MOST_CONNECTIONS,
            asyncore_use_poll=True,
            log_socket_errors=False,
        )
    except OSError as error:
        raise HpoError(f"the dashboard cannot listen on {host}, port {port}: {_reason(error, port)}") from error
    except (ValueError, OverflowError) as error:
        raise HpoError(
            f"the dashboard cannot listen on host '{host}', port {port}: the host must be a name or address of this "
            "machine, such as 127.0.0.1, and the port a number from 0 to 65535"
        ) from error
    kind = type("Connection", (_Connection,), {"seconds_to_ask": seconds_to_ask})
    for listening in list(sockets.values()):
        if isinstance(listening, BaseWSGIServer):
            listening.channel_class = kind
    return server


def port_of(server: Any) -> int:
    """The port it listens on."""
    # a name such as localhost may resolve to an IPv4 and an IPv6 address, and so to two sockets
    several = getattr(server, "effective_listen", None)
    return int(several[0][1] if several else server.effective_port)


class _Connection(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection that is closed when it waits for too long, or for longest where there are too many."""

    seconds_to_ask = SECONDS_TO_ASK

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:
        self.waits_since = time.monotonic()
        super().__init__(server, sock, addr, adj, map=map)
        open_ones = [one for one in map.values() if isinstance(one, _Connection) and not one.will_close]
        waiting = [one for one in open_ones if one is not self and one._waits()]
        if len(open_ones) > MOST_CONNECTIONS and waiting:
            min(waiting, key=lambda one: one.waits_since).will_close = True

    def readable(self) -> bool:
        """Called by the server's loop each second at least."""
        now = time.monotonic()
        if self._waits() and now - self.waits_since > self.seconds_to_ask:
            self.will_close = True
        if self.total_outbufs_len and time.time() - self.last_activity > SECONDS_TO_READ:
            self.will_close = True  # which also frees the thread that waits to write more
        return bool(super().readable())

    def service(self) -> None:
        super().service()
        self.waits_since = time.monotonic()

    def _waits(self) -> bool:
        """Whether no request of it is complete, and none is answered."""
        return not self.requests and not self.total_outbufs_len


def _reason(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"another program uses it already; choose another port, such as --port {port + 1}"
        case errno.EACCES:
            return "ports below 1024 are reserved for the administrator; choose one such as --port 8080"
        case errno.EADDRNOTAVAIL:
            return "this is not an address of this machine"
        case _:
            return error.strerror or str(error)
