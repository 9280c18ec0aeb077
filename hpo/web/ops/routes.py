"""The routes of `/ops` that look: its pages, what goes on in them, and their style and script."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from hpo.report.page import page_policy
from hpo.report.writing import HTML, report_text
from hpo.web.access import Caller, Role, need
from hpo.web.ops import addresses, live
from hpo.web.ops.composing import site_of, study_page, trial_page, watched
from hpo.web.ops.desk import desk_of
from hpo.web.ops.events import TooManyError
from hpo.web.ops.pages import MissingError, PageRoute, static_file
from hpo.web.ops.steering import router as steering

router = APIRouter(prefix=addresses.ROOT, include_in_schema=False, route_class=PageRoute)

Viewer = Annotated[Caller, Depends(need(Role.VIEWER))]
Part = Annotated[str, Query(max_length=200)]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
Told = Annotated[str, Query(max_length=50)]
"""By which a page finds what it has to say of the form before it."""


@router.get("")
def studies(
    request: Request,
    caller: Viewer,
    q: Part = "",
    number: Annotated[PageNumber, Query(alias="page")] = 1,
    told: Told = "",
) -> Response:
    """All studies."""
    shown = live.all_studies(site_of(request), desk_of(request), caller, q=q, page=number)
    return watched(request, caller, "studies.html", shown, told=told, q=q)


@router.get("/workers")
def workers(request: Request, caller: Viewer) -> Response:
    """All workers."""
    shown = live.workers(site_of(request), desk_of(request), caller)
    return watched(request, caller, "workers.html", shown)


@router.get("/events")
async def events(
    request: Request,
    caller: Viewer,
    study: Annotated[str | None, Query(max_length=1000)] = None,
    trial: Annotated[int | None, Query(ge=0)] = None,
    of: Part = "",
    q: Part = "",
    number: Annotated[PageNumber, Query(alias="page")] = 1,
) -> Response:
    """What changes on a page, as server-sent events."""
    site, desk = site_of(request), desk_of(request)
    if study is not None:
        shown = live.study(site, desk, caller, study) if trial is None else live.trial(site, caller, study, trial)
    elif of == live.WORKERS:
        shown = live.workers(site, desk, caller)
    else:
        shown = live.all_studies(site, desk, caller, q=q, page=number)
    try:
        told = desk.feeds.listen(shown.key, shown.html_now)
    except TooManyError:
        return PlainTextResponse("too many pages are watched at the moment", 503, {"Retry-After": "60"})
    # a proxy would wait for the end of the answer otherwise
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


@router.get("/studies/{name}")
def study(request: Request, caller: Viewer, name: str, told: Told = "") -> Response:
    """A study."""
    return study_page(request, caller, addresses.name_in(name), told=told)


@router.get("/studies/{name}/trials")
def find_trial(caller: Viewer, name: str, number: Annotated[int, Query(ge=0)]) -> Response:
    """Leads to a trial by its number."""
    return RedirectResponse(addresses.of_study(addresses.name_in(name), "trials", number), 303)


@router.get("/studies/{name}/trials/{number}")
def trial(request: Request, caller: Viewer, name: str, number: int, told: Told = "") -> Response:
    """A trial."""
    return trial_page(request, caller, addresses.name_in(name), number, told=told)


@router.get("/studies/{name}/report")
async def report(request: Request, caller: Viewer, name: str) -> Response:
    """What `hpo report` writes, with the model card at its end."""
    store, study = site_of(request).store, addresses.name_in(name)

    def made() -> str:
        live.check(store, caller, study)
        return report_text(store, study, HTML)

    async with desk_of(request).reports:
        text = await run_in_threadpool(made)
    headers = {"Content-Security-Policy": f"{page_policy()}; frame-ancestors 'none'", "Cache-Control": "no-store"}
    return HTMLResponse(text, headers=headers)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """The style and the script, which anybody may read."""
    found = static_file(name)
    if found is None:
        raise MissingError(f"there is no file '{name}'")
    kind, text = found
    # the address of a file changes with what is in it
    return Response(text, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})


router.include_router(steering)
