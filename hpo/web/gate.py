"""What every request passes, whatever it asks for: whose it is, where it comes from, and how large it may be.

A web page can point its own host name at this machine, and the browser would then let it read our studies (DNS
rebinding). Such requests have that name in `Host`, which must therefore be one of ours. And a web page can let a
browser send a write with the cookie of our user. Such a write has the other page's `Origin`, or `Sec-Fetch-Site` says
so.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from anyio import to_thread
from fastapi import HTTPException
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hpo.errors import HpoError
from hpo.web.access import READS
from hpo.web.callers import ANONYMOUS, Caller, DeniedError, Role
from hpo.web.ops.pages import problem_page, status_and_words
from hpo.web.problems import problem, problem_of
from hpo.web.sessions import COOKIES
from hpo.web.site import Site
from hpo.web.tokens import SECRET, caller_with

OURS = ("/api/v1", "/ops", "/login", "/logout", "/healthz", "/readyz", "/metrics")
FOR_STRANGERS = ("/login", "/healthz", "/readyz")
MOST_BYTES = 64 * 1024  # of a request of those who may only look
MOST_BYTES_OF_WRITERS = 8 * 2**20  # a study file, an artifact

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Our pages: their own files, no script or style within the page.
_OUR_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# What optuna-dashboard needs: its own files, styles that its scripts write, and eval, with which plotly draws on WebGL.
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# An artifact may be somebody else's web page: opened on its own, it is displayed, but its scripts do not run.
_DATA_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"


class Gate:
    """An ASGI middleware in front of our routes and of optuna-dashboard.

    It leaves in the request's state who calls (`caller`), and gives every answer headers that forbid what it does not
    need. A route of ours may set a `Content-Security-Policy` of its own.

    Args:
        app: our routes.
        dashboard: answers all paths that are not ours.
    """

    def __init__(self, app: ASGIApp, *, site: Site, dashboard: ASGIApp) -> None:
        self._app = app
        self._dashboard = dashboard
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        path, headers = scope["path"], Headers(scope=scope)
        send = _hardened(send, path, is_secret=self._site.login)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            try:
                caller = await self._caller(headers, path)
            except DeniedError as error:
                refusal = _refuse(error.status, str(error))
            except (HpoError, SQLAlchemyError) as error:
                is_page = is_under(path, ("/ops",)) and _is_for_people(scope, headers)
                refusal = problem_page(*status_and_words(error)) if is_page else problem_of(error)
            else:
                refusal = self._refusal_of(caller, scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        most = MOST_BYTES if caller is None or caller.role < Role.OPERATOR else MOST_BYTES_OF_WRITERS
        if _length(headers) > most:
            await _refuse(413, f"a request may have {most:,} bytes here")(scope, receive, send)
            return
        app = self._app if is_under(path, OURS) else self._dashboard
        await app(scope, _bounded(receive, most), send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Why a request is refused, whoever sent it."""
        name = _host_name(headers.get("Host", ""))
        if not _is_ours(name, self._site):
            shown = f"'{name}'" if name else "without a name"
            return _refuse(
                403,
                f"the request's host name, {shown}, is not the name of this dashboard: open it by the address that "
                "'hpo dashboard' printed, or start it with --host NAME, or behind a proxy with --url https://NAME",
            )
        if SECRET.search(scope["query_string"].decode("latin1")):
            return _refuse(
                400,
                "a token in an address is in logs and histories: revoke it with 'hpo token revoke NAME', and send the "
                "next one as the header 'Authorization: Bearer ...'",
            )
        if scope["method"] not in READS and (reason := _foreign(headers)) is not None:
            return _refuse(403, f"a write must come from a page of this server: {reason}")
        return None

    async def _caller(self, headers: Headers, path: str) -> Caller | None:
        """Who sent the request; None for a stranger.

        Raises:
            DeniedError: a token is not valid, or not for this path.
        """
        if is_under(path, ("/healthz", "/readyz")):  # these answer whatever the store does
            return None
        sent = headers.get("Authorization")
        if sent is not None:
            kind, _, secret = sent.partition(" ")
            caller = None
            if kind.lower() == "bearer" and SECRET.fullmatch(secret.strip()):
                caller = await to_thread.run_sync(lambda: caller_with(self._site.store, secret.strip()))
            if caller is None:
                raise DeniedError(401, "the token is not valid")
            if caller.studies is not None and not is_under(path, ("/api/v1",)):
                raise DeniedError(403, "the token is for some studies only, and /api/v1 knows which")
            return caller
        if not self._site.login:
            return ANONYMOUS
        cookie = _cookie(headers, COOKIES[self._site.is_encrypted])
        if cookie is None:
            return None
        return await to_thread.run_sync(lambda: self._site.sessions.caller_with(cookie))

    def _refusal_of(self, caller: Caller | None, scope: Scope, headers: Headers) -> Response | None:
        """Why a request of this caller is refused."""
        path, method = scope["path"], scope["method"]
        if caller is None and not is_under(path, FOR_STRANGERS):
            if _is_for_people(scope, headers) and not path.startswith("/api/"):
                return RedirectResponse(f"/login?next={_quoted(scope)}", 303)
            return _refuse(401, "log in first, or send a token as 'Authorization: Bearer ...'")
        if method in READS:
            return None
        if caller is not None and caller.csrf is not None and not {"origin", "sec-fetch-site"} & set(headers):
            return _refuse(403, "a write with a session's cookie must say where it comes from: Origin is missing")
        if is_under(path, OURS) or (caller is not None and caller.role >= Role.OPERATOR):
            return None
        advice = ": log in as an operator" if self._site.login else ", as it has no login"
        return _refuse(
            405,
            f"this dashboard is read-only{advice}; or change studies with hpo's own verbs, such as 'hpo stop STUDY'",
            {"Allow": ", ".join(READS)},
        )


def is_under(path: str, folders: tuple[str, ...]) -> bool:
    """Whether a path is one of these, or below one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for itself only."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _is_ours(name: str, site: Site) -> bool:
    """Whether a name of `Host` is one by which this server may be asked."""
    if site.address is not None and name == urlsplit(site.address).hostname:
        return True
    if name in ("localhost", site.host.lower()) or is_loopback(name):
        return True
    if not name or is_loopback(site.host):
        return False
    # addresses, and names without a dot, as in a network of containers, cannot be another web page's host name
    return _address(name) is not None or "." not in name or name == socket.getfqdn().lower()


def _foreign(headers: Headers) -> str | None:
    """What says that another web page has sent a request; None when nothing does."""
    site = headers.get("Sec-Fetch-Site", "same-origin")
    if site != "same-origin":
        return f"the browser calls it {site}"
    origin = headers.get("Origin")
    if origin is not None and origin.lower().partition("://")[2] != headers.get("Host", "").lower():
        return f"this one comes from {origin}"
    return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _host_name(header: str) -> str:
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _cookie(headers: Headers, name: str) -> str | None:
    for part in headers.get("Cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


def _quoted(scope: Scope) -> str:
    query = scope["query_string"].decode("latin1")
    return quote(scope["path"] + (f"?{query}" if query else ""), safe="/")


def _is_for_people(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks for a page."""
    return scope["method"] == "GET" and "text/html" in headers.get("Accept", "")


def _length(headers: Headers) -> int:
    text = headers.get("Content-Length", "0")
    return int(text) if text.isdecimal() else 0


def _refuse(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    # `reason` besides RFC 9457's members: the pages of optuna-dashboard show it to their user
    more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return problem(status, reason, headers={**more, **(headers or {})}, reason=reason)


def _bounded(receive: Receive, most: int) -> Receive:
    """Receives no more bytes than this, of a body of unknown length."""
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise HTTPException(413, f"a request may have {most:,} bytes here")
        return message

    return bounded


def _hardened(send: Send, path: str, *, is_secret: bool) -> Send:
    """Sends answers with our headers in place of theirs, and without the permission for other pages to read them."""
    ours = is_under(path, OURS)
    is_data = path.startswith(("/api/", "/artifacts/", "/csv/"))
    policy = _OUR_POLICY if ours else _DATA_POLICY if is_data else _PAGE_POLICY
    # a browser sends no Origin with a form of a page without a referrer
    referrer = "same-origin" if ours else "no-referrer"

    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in {**_HEADERS, "Referrer-Policy": referrer}.items():
                headers[name] = value
            if not ours or "Content-Security-Policy" not in headers:
                headers["Content-Security-Policy"] = policy
            if "Access-Control-Allow-Origin" in headers:
                del headers["Access-Control-Allow-Origin"]
            if is_secret and not path.startswith("/static/"):
                headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return hardened
