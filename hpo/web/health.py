"""`/healthz`: the process answers. `/readyz`: so does its store. For those who restart it, or send it requests."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import HpoError, StoreUnreachableError
from hpo.store.tables import hpo_settings
from hpo.web.problems import UNREADABLE, problem
from hpo.web.site import Site

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Response:
    """That the process answers, whatever its store and its threads do."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(request: Request) -> Response:
    """Whether the store answers; strangers learn no more of it."""
    site: Site = request.app.state.site
    try:
        with site.store.read() as connection:
            connection.execute(select(hpo_settings.c.key).limit(1)).first()
    except (SQLAlchemyError, StoreUnreachableError):
        return problem(503, UNREADABLE)
    except HpoError:
        return problem(503, "the store cannot be used as it is: 'hpo ls' says why")
    return PlainTextResponse("ok\n")
