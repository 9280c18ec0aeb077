"""The dashboard's answers with their texts as text: what turns the direction of text, or steers a terminal, is shown.

The browser shows markup in names as it is, but obeys the characters by which text runs from right to left; and a CSV
file may be printed on a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from hpo.printable import printable

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# A pair of UTF-16 halves; one character; or any other escape, such as that of a backslash, which is not to be split.
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[0-9a-fA-F]{4}|\\[bfr]|\x7f)|\\."
)


def as_text(app: WSGIApplication) -> WSGIApplication:
    """The application, whose JSON and CSV hold no character that is not to be printed."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        written = _json if path.startswith("/api/") else _csv if path.startswith("/csv/") else None
        if written is None:
            return app(environ, start_response)
        heads: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            heads.append((status, headers))
            return lambda _: None

        parts = app(environ, start)
        try:
            body = written(b"".join(parts))
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()
        status, headers = heads[-1]
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*kept, ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _json(body: bytes) -> bytes:
    """JSON in ASCII, in which every character beyond it is an escape."""
    return _ESCAPES.sub(_shown, body)


def _shown(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        return found[0]
    character = json.loads(b'"' + found[1] + b'"')
    shown = printable(character)
    return found[0] if shown == character else shown.replace("\\", "\\\\").encode()


def _csv(body: bytes) -> bytes:
    return printable(body.decode(errors="replace")).encode()
