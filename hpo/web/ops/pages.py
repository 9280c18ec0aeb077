"""Pages from templates: what they may load, and errors as pages.

Every text in a page may be hostile: names, errors and logs come from users and other programs. All are escaped, their
controls are written out, and a page may load nothing but the style and the script of `/ops/static`.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FunctionLoader, StrictUndefined
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import HpoError, SpecError, StoreError, StoreUnreachableError
from hpo.printable import counted, in_a_line, printable
from hpo.report.words import shown, span
from hpo.web.access import DeniedError, Role
from hpo.web.ops import addresses
from hpo.web.ops.all_studies import best_in_words, ended

log = logging.getLogger(__name__)

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STATIC = {"ops.css": "text/css", "ops.js": "text/javascript"}
UNREACHABLE = "the store cannot be read at the moment"
RETRY_SECONDS = 5


class MissingError(HpoError):
    """What a page should show is not there, or not for the caller."""


class PageRoute(APIRoute):
    """A route whose errors are answered as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_or_tell(request: Request) -> Response:
            try:
                return await answer(request)
            except DeniedError as error:
                if error.status == HTTPStatus.UNAUTHORIZED:
                    raise  # who has to log in is told where
                return problem_page(error.status, str(error))
            except RequestValidationError as error:
                wrong = (f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors())
                return problem_page(422, "; ".join(wrong))
            except (HpoError, SQLAlchemyError) as error:
                return problem_page(*status_and_words(error))

        return answer_or_tell


def status_and_words(error: Exception) -> tuple[int, str]:
    """How an error is answered, and what is said of it."""
    if isinstance(error, SQLAlchemyError):
        # without the message, which may quote the store's address
        log.warning("a page could not be made: %s", type(error).__name__)
        return 503, UNREACHABLE
    statuses = {MissingError: 404, StoreUnreachableError: 503, SpecError: 422, StoreError: 409}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 500), str(error)


def problem_page(status: int, words: str) -> Response:
    """A page that says what was wrong; while the store is unreachable, it tries again by itself."""
    retry = RETRY_SECONDS if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    answer = page("problem.html", status=status, title=HTTPStatus(status).phrase, words=words, retry=retry)
    answer.status_code = status
    if retry is not None:
        answer.headers["Retry-After"] = str(retry)
    return answer


def page(template: str, **values: Any) -> Response:
    """A page that nothing keeps: what it shows changes, and is for those who may see it."""
    return HTMLResponse(
        html_of(template, **values), headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    )


def html_of(template: str, **values: Any) -> str:
    """The text of a template."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    folder = files("hpo.web.ops") / "templates"
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_as_text,
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"line": in_a_line, "shown": shown, "span": span, "counted": counted}
    environment.globals |= {
        "of_study": addresses.of_study,
        "root": addresses.ROOT,
        "static": _address_of_static,
        "Role": Role,
        "ended": ended,
        "best_in_words": best_in_words,
    }
    return environment


@functools.cache
def static_file(name: str) -> tuple[str, str] | None:
    """(type, text) of the style or the script; None of anything else."""
    if name not in STATIC:
        return None
    return STATIC[name], (files("hpo.web.ops") / "static" / name).read_text(encoding="utf-8")


def _address_of_static(name: str) -> str:
    found = static_file(name)
    assert found is not None
    return f"{addresses.ROOT}/static/{name}?{hashlib.sha256(found[1].encode()).hexdigest()[:12]}"


def _as_text(value: Any) -> Any:
    """Text whose controls are written out; markup of our own stays."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
