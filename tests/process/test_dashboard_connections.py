"""Connections that only wait keep nobody out of the server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from hpo.web.connections import MOST_CONNECTIONS, Connection, settings

BYTES = 40 * 2**20  # more than the sockets of both ends take


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    body = b"x" * BYTES if scope["path"] == "/large" else b"here"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def served(**options: float) -> Iterator[int]:
    """The port of a server in this process."""
    config = settings(answer, connection=type("Hasty", (Connection,), options))
    config.lifespan = "off"
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.force_exit = server.should_exit = True
            thread.join()


def ask(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"]
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


def test_a_browser_that_takes_nothing_of_its_answer_is_given_up() -> None:
    with served(seconds_to_read=0.3) as port, socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        threading.Event().wait(1.5)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while part := idle.recv(1 << 20):
                taken += len(part)

    assert 0 < taken < BYTES


def test_a_slow_answer_is_not_cut_off_by_the_limit_for_requests() -> None:
    with served(seconds_to_ask=0.3) as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        threading.Event().wait(1.0)
        taken = 0
        while part := slow.recv(1 << 20):
            taken += len(part)

    assert taken > BYTES
