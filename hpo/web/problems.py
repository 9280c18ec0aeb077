"""Errors as answers: RFC 9457 (`application/problem+json`) for programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from hpo.errors import HpoError, SpecError, StoreError, StoreUnreachableError
from hpo.printable import printable
from hpo.web.callers import DeniedError

log = logging.getLogger(__name__)

UNREADABLE = "the store cannot be read at the moment: try again, and see 'hpo ls' for the reason"


def problem(
    status: int,
    detail: str,
    *,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> Response:
    """The answer to a request that failed.

    Args:
        detail: what was wrong and what would be right.
        title: by default the status in words.
        reason: the same for the pages of optuna-dashboard, which show this member.
    """
    content = {"status": status, "title": title or HTTPStatus(status).phrase, "detail": printable(detail)}
    if reason is not None:
        content["reason"] = printable(reason)
    return JSONResponse(content, status_code=status, media_type="application/problem+json", headers=headers)


def problem_of(error: HpoError | SQLAlchemyError) -> Response:
    """The answer to a request that ended with this error, also for the pages of optuna-dashboard."""
    if isinstance(error, HpoError):
        return problem(_status_of(error), str(error), reason=str(error))
    # without the message, which may quote the store's address
    log.warning("a request was not answered: %s", type(error).__name__)
    return problem(503, UNREADABLE, reason=UNREADABLE)


def answer_problems(app: FastAPI) -> None:
    """Let errors of the routes be answered as problems."""

    @app.exception_handler(DeniedError)
    def denied(_: Request, error: DeniedError) -> Response:
        return problem(error.status, str(error))

    @app.exception_handler(HTTPException)
    def unknown(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        wrong = (f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors())
        return problem(422, "; ".join(wrong))

    @app.exception_handler(HpoError)
    def refused(_: Request, error: HpoError) -> Response:
        return problem_of(error)

    @app.exception_handler(SQLAlchemyError)
    def unreachable(_: Request, error: SQLAlchemyError) -> Response:
        return problem_of(error)


def _status_of(error: HpoError) -> int:
    if isinstance(error, StoreUnreachableError):
        return 503
    if isinstance(error, SpecError):
        return 422
    return 409 if isinstance(error, StoreError) else 500
