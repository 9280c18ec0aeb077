"""Serves optuna-dashboard on a store, read-only.

optuna-dashboard has no login, and everyone who reaches its port can delete studies. Therefore `ReadOnly` wraps it and
refuses all requests that could change something, and its connections to the database are read-only too.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hpo.dashboard.listen import THREADS, listen, port_of
from hpo.dashboard.page import without_changes
from hpo.dashboard.text import as_text
from hpo.printable import printable
from hpo.store import Store, StoreUrl
from hpo.store.optuna_storage import optuna_storage

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from optuna.storages import RDBStorage

log = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# What the pages need: their own files, styles that the scripts write, and eval, with which plotly draws on WebGL.
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# An artifact may be somebody else's web page: opened on its own, it is displayed, but its scripts do not run.
_DATA_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"


def serve(store_url: StoreUrl, *, host: str, port: int, artifacts: Path) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM; prints its address. A missing store is created.

    Args:
        host: an address of this machine; any but the loopback is logged as a warning, since there is no login.
        port: 0 for any free port.
        artifacts: the folder of files that Optuna scripts attached to trials.

    Raises:
        StoreError: the store cannot be used.
        HpoError: the server cannot listen on this host and port.
    """
    from hpo.dashboard.storage import ShownStorage  # imports Optuna

    with _until_interrupted():
        Store.create(store_url).close()
        with optuna_storage(store_url, pool_size=THREADS, kind=ShownStorage) as storage:
            forbid_writing(storage)
            server = listen(ReadOnly(_dashboard(storage, artifacts), host=host), host, port)
            try:
                if not _is_loopback(host):
                    log.warning("the dashboard has no login: everyone who can reach %s can read all studies", host)
                address = f"[{host}]" if ":" in host else host
                message = f"dashboard of {store_url} on http://{address}:{port_of(server)}/ (Ctrl-C ends it)"
                print(printable(message), flush=True)  # noqa: T201 (the answer of the verb)
                server.run()
            finally:
                server.close()


class ReadOnly:
    """A WSGI application in front of optuna-dashboard's: reads pass, with security headers; all else is refused.

    A web page can point its own host name at this machine, and the browser would then let it read our studies (DNS
    rebinding). Such requests have that name in `Host`, which must therefore be one of ours.

    Args:
        host: where the server listens.
    """

    def __init__(self, app: WSGIApplication, *, host: str) -> None:
        self._app = app
        self._host = host

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = _host_name(environ.get("HTTP_HOST", ""))
        if not _is_ours(name, self._host):
            shown = f"'{name}'" if name else "without a name"
            return _refuse(
                start_response,
                "403 Forbidden",
                f"the request's host name, {shown}, is not the name of this dashboard: open it by the address that "
                "'hpo dashboard' printed, or start it with --host NAME",
            )
        if environ["REQUEST_METHOD"] not in _METHODS:
            return _refuse(
                start_response,
                "405 Method Not Allowed",
                "this dashboard is read-only: change studies with hpo's own verbs, such as 'hpo stop STUDY'",
                ("Allow", ", ".join(_METHODS)),
            )
        # optuna-dashboard reads it without a default
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        try:
            return self._app(environ, _hardening(start_response, is_page=_is_page(environ["PATH_INFO"])))
        except Exception as error:
            # without the message, which may quote the store's address
            log.warning("the dashboard could not answer: %s", type(error).__name__)
            reason = "the store cannot be read at the moment: try again, and see 'hpo ls' for the reason"
            return _refuse(start_response, "503 Service Unavailable", reason)


def forbid_writing(storage: RDBStorage) -> None:
    """Make the storage's connections to the database read-only."""
    from sqlalchemy import event

    def forbid(connection: Any, _: object) -> None:
        if storage.engine.dialect.name == "sqlite":
            connection.execute("PRAGMA query_only = 1")
        else:
            connection.read_only = True

    event.listen(storage.engine, "connect", forbid)
    storage.engine.dispose()  # of connections that were opened before


def _dashboard(storage: RDBStorage, artifacts: Path) -> WSGIApplication:
    import optuna
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    from hpo.dashboard.files import TrialFiles

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    for noisy in ("optuna_dashboard", "waitress"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    files = TrialFiles(storage.engine, artifacts, FileSystemArtifactStore(artifacts))
    app: Any = wsgi(storage, files)
    app.catchall = False  # errors come to ReadOnly instead of being printed with a traceback
    return without_changes(as_text(app))


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


def _host_name(header: str) -> str:
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_ours(name: str, host: str) -> bool:
    if name in ("localhost", host.lower()) or _is_loopback(name):
        return True
    if not name or _is_loopback(host):
        return False
    # addresses, and names without a dot, as in a network of containers, cannot be another web page's host name
    return _address(name) is not None or "." not in name or name == socket.getfqdn().lower()


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_page(path: str) -> bool:
    return not path.startswith(("/api/", "/artifacts/", "/csv/"))


def _hardening(start_response: StartResponse, *, is_page: bool) -> StartResponse:
    """Replace the application's headers by ours, and remove the permission for other web pages to read answers."""
    ours = _HEADERS | {"Content-Security-Policy": _PAGE_POLICY if is_page else _DATA_POLICY}
    replaced = {name.lower() for name in ours} | {"access-control-allow-origin"}

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
        kept = [(name, value) for name, value in headers if name.lower() not in replaced]
        return start_response(status, [*kept, *ours.items()], exc_info)

    return start


def _refuse(start_response: StartResponse, status: str, reason: str, *headers: tuple[str, str]) -> list[bytes]:
    # as JSON, because the dashboard's pages show the `reason` of an answer to their user
    body = json.dumps({"reason": reason}).encode()
    described = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    _hardening(start_response, is_page=False)(status, [*described, *headers])
    return [body]
