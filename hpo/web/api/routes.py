"""The routes of `/api/v1`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from hpo.results.study import list_studies
from hpo.web.access import Caller, Role, need
from hpo.web.site import Site

router = APIRouter(prefix="/api/v1")

Viewer = Annotated[Caller, Depends(need(Role.VIEWER))]


@router.get("/studies")
def studies(request: Request, caller: Viewer) -> list[dict[str, Any]]:
    """The studies of the store, the oldest first."""
    site: Site = request.app.state.site
    return [study.to_json() for study in list_studies(site.store) if caller.sees(study.study)]
