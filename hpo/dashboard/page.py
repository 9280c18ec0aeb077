"""The dashboard's page without what would change a study: it is read-only, and a button that fails helps nobody.

optuna-dashboard has no setting for that. Its buttons are known by their labels, or where they have none by the paths of
their icons, and hidden by a style sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HIDDEN = (
    'button[aria-label="rename study"]',
    'button[aria-label="delete study"]',
    'button[aria-label="delete artifact"]',
    'button[aria-label="skip trial"]',
    '.MuiCard-root:has(> .MuiCardActionArea-root input[type="file"])',  # upload an artifact
    'button:has(path[d^="M19 3H5c-1.11"])',  # create a study
    'button:has(path[d^="M3 17.25V21h3.75"])',  # edit a note
    'button:has(path[d^="M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.52 2 12 2m4 14H8V8h8z"])',  # fail it
)
STYLE = f"<style>{', '.join(HIDDEN)} {{ display: none !important; }}</style>".encode()
END_OF_HEAD = b"</head>"

# The page of the browser's cache may be another one than ours.
_CONDITIONS = ("HTTP_RANGE", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH")


def without_changes(app: WSGIApplication) -> WSGIApplication:
    """The application, whose page hides what would change something."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET" or not (path == "/dashboard" or path.startswith("/dashboard/")):
            return app(environ, start_response)
        for condition in _CONDITIONS:
            environ.pop(condition, None)
        heads: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            heads.append((status, headers))
            return lambda _: None

        parts = app(environ, start)
        try:
            page = b"".join(parts).replace(END_OF_HEAD, STYLE + END_OF_HEAD, 1)
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()
        status, headers = heads[-1]
        kept = [(name, value) for name, value in headers if name.lower() not in ("content-length", "last-modified")]
        start_response(status, [*kept, ("Content-Length", str(len(page)))])
        return [page]

    return answer
