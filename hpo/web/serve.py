"""The server's process: it listens, prints its address, and answers until it is asked to end."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from hpo.errors import HpoError, SpecError, StoreUnreachableError
from hpo.printable import printable
from hpo.web.app import application
from hpo.web.connections import settings
from hpo.web.gate import is_loopback
from hpo.web.ops.events import Feeds
from hpo.web.site import Site
from hpo.web.users import users

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"https?://([\w.-]+|\[[\da-fA-F:]+\])(:\d{1,5})?")


@dataclass(frozen=True)
class Transport:
    """How browsers reach the server.

    Attributes:
        certificate: a PEM file, with those of the issuers after it; None without TLS.
        key: a PEM file without a password.
        proxies: addresses of proxies, whose X-Forwarded-For is trusted.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None
    proxies: Sequence[str] = ()


def serve(site: Site, transport: Transport, *, is_open: bool = False) -> None:
    """Serve a site until Ctrl-C or SIGTERM; prints its address. A missing store is created.

    Args:
        is_open: whoever reaches another address than the loopback may look, without a login.

    Raises:
        StoreError: the store cannot be used; one that is only unreachable is waited for while the server answers.
        HpoError: the server cannot listen on this host and port, or not with this certificate.
        SpecError: the options do not go together.
    """
    _check(site, transport, is_open=is_open)
    tls = _tls(transport)
    with _until_interrupted():
        app = application(site)
        try:
            app.state.dashboard.open()
            if site.login and not users(site.store):
                log.warning("nobody can log in: add somebody with 'hpo user add NAME --role viewer'")
        except StoreUnreachableError as error:
            log.warning("%s. The server says so until it is back", error)
        config = settings(app, proxies=transport.proxies)
        config.load()
        if tls is not None:
            config.ssl = tls
        for noisy in ("uvicorn", "uvicorn.error", "asyncio"):
            # a request that cannot be read is its sender's matter, and is answered
            logging.getLogger(noisy).setLevel(logging.ERROR)
        with _listening(transport) as listening:
            port = listening[0].getsockname()[1]
            name = f"[{transport.host}]" if ":" in transport.host else transport.host
            address = site.address or f"{'https' if tls else 'http'}://{name}:{port}"
            print(printable(f"dashboard of {site.url} on {address}/ (Ctrl-C ends it)"), flush=True)  # noqa: T201
            asyncio.run(_Server(config, app.state.desk.feeds).serve(sockets=listening))


class _Server(uvicorn.Server):
    """A server that leaves signals to us: uvicorn raises them again when it has ended.

    Args:
        feeds: of the application, whose streams a server that is to end would wait for.
    """

    def __init__(self, config: uvicorn.Config, feeds: Feeds) -> None:
        super().__init__(config)
        self._feeds = feeds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._feeds.end()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _check(site: Site, transport: Transport, *, is_open: bool) -> None:
    """
    Raises:
        SpecError: the options do not go together.
    """
    if not is_loopback(transport.host) and not site.login and not is_open:
        raise SpecError(
            f"--host {transport.host}: everyone who can reach this address could read all studies. Add --login, and "
            "'hpo user add NAME --role viewer' for each person; or --no-login in a network that you trust, such as one "
            "of containers behind a proxy"
        )
    if (transport.certificate is None) != (transport.key is None):
        raise SpecError("--tls-cert and --tls-key belong together: give both, or neither")
    if site.address is not None and _ADDRESS.fullmatch(site.address) is None:
        raise SpecError(f"--url {site.address}: should be an address without a path, such as https://hpo.example.com")


def _tls(transport: Transport) -> ssl.SSLContext | None:
    if transport.certificate is None:
        return None
    for option, file in (("--tls-cert", transport.certificate), ("--tls-key", transport.key)):
        try:
            assert file is not None
            file.read_bytes()
        except OSError as error:
            raise SpecError(f"{option} {file}: {error.strerror or error}") from error
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # TLS 1.2 at least
    try:
        # the empty password keeps OpenSSL from asking on the terminal
        context.load_cert_chain(transport.certificate, transport.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise SpecError(
            f"--tls-cert {transport.certificate}, --tls-key {transport.key}: they should be a certificate and its key, "
            f"without a password, in PEM files ({getattr(error, 'reason', None) or error})"
        ) from error
    return context


@contextmanager
def _listening(transport: Transport) -> Iterator[list[socket.socket]]:
    """Sockets that listen; a name such as localhost may be an IPv4 and an IPv6 address, and so two.

    Raises:
        HpoError: the server cannot listen on this host and port.
    """
    opened: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, _, _, _, address in _addresses(transport.host, transport.port):
            try:
                # the second socket of port 0 takes the port of the first
                opened.append(_socket(family, address, port=opened[0].getsockname()[1] if opened else transport.port))
            except OSError as error:
                failure = error
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # a machine without IPv6
                    break
        if failure is not None and (not opened or failure.errno == errno.EADDRINUSE):
            reason = _reason(failure, transport.port)
            raise HpoError(
                f"the dashboard cannot listen on {transport.host}, port {transport.port}: {reason}"
            ) from failure
        yield opened
    finally:
        for listening in opened:
            listening.close()


def _socket(family: socket.AddressFamily, address: tuple[str | int, ...], *, port: int) -> socket.socket:
    # by its protocol asyncio knows TCP, and sets TCP_NODELAY: without it, each answer in two parts waits 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address[0], port, *address[2:]))
        listening.listen(512)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _addresses(host: str, port: int) -> list[Any]:
    """As `socket.getaddrinfo` gives them."""
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    except (OSError, UnicodeError) as error:
        raise HpoError(
            f"the dashboard cannot listen on host '{host}', port {port}: the host must be a name or address of this "
            "machine, such as 127.0.0.1, and the port a number from 0 to 65535"
        ) from error


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


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, without an error."""
    # Ctrl-C has to be set too: a process that a script started in the background ignores it by default.
    ends = (signal.SIGTERM, signal.SIGINT)
    previous = [(end, signal.signal(end, signal.default_int_handler)) for end in ends]
    try:
        yield
    except KeyboardInterrupt:
        log.info("the dashboard was asked to end")
    finally:
        for end, handler in previous:
            signal.signal(end, handler)
