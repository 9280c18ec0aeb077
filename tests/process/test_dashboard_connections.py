"""Connections that only wait keep nobody out of the dashboard."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from hpo.dashboard.listen import MOST_CONNECTIONS, listen, port_of


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Sequence[bytes]:
    start_response("200 OK", [("Content-Length", "4")])
    return [b"here"]


@contextlib.contextmanager
def served(**options: float) -> Iterator[int]:
    """The port of a server in this process."""
    server = listen(answer, "127.0.0.1", 0, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield port_of(server)
    server.close()
    server.pull_trigger = lambda: None
    for left in list(server._map.values()):
        left.close()
    thread.join()
    server.task_dispatcher.shutdown()


def ask(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_more_half_open_connections_than_the_server_has_keep_nobody_out(said: bytes) -> None:
    with served() as port, contextlib.ExitStack() as stack:
        for _ in range(2 * MOST_CONNECTIONS + 50):
            half_open = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            with contextlib.suppress(OSError):  # it may be the one that made room
                half_open.sendall(said)

        assert ask(port) == b"here"


def test_a_connection_that_asks_for_nothing_is_closed() -> None:
    with served(seconds_to_ask=0.2) as port, socket.create_connection(("127.0.0.1", port)) as idle:
        assert idle.recv(1) == b""


def test_a_request_that_comes_byte_by_byte_for_too_long_is_closed() -> None:
    with served(seconds_to_ask=0.5) as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.settimeout(0.05)
        ended = False
        while not ended:  # each byte is activity
            with contextlib.suppress(TimeoutError):
                try:
                    slow.sendall(b"x")
                    ended = slow.recv(1) == b""
                except (BrokenPipeError, ConnectionResetError):
                    ended = True


def test_a_connection_is_kept_for_several_requests() -> None:
    with served() as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"here"
        connection.close()
