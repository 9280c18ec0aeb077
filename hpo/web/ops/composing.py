"""Whole pages: the part that goes on by itself, and the forms around it for those who may use them."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from hpo.web.access import Caller, csrf_token
from hpo.web.ops import live
from hpo.web.ops.desk import desk_of
from hpo.web.ops.live import Live
from hpo.web.ops.pages import page
from hpo.web.site import Site


def site_of(request: Request) -> Site:
    """What is served."""
    site: Site = request.app.state.site
    return site


def study_page(
    request: Request,
    caller: Caller,
    name: str,
    *,
    told: str = "",
    problem: str = "",
    status: int = 200,
    **typed: str,
) -> Response:
    """A study.

    Args:
        told: the key of what is to be said of the form before.
        problem: what was wrong with a form.
        typed: what was typed into it.
    """
    shown = live.study(site_of(request), desk_of(request), caller, name)
    typed = {"changes": "", "point": ""} | typed
    return watched(request, caller, "study.html", shown, told=told, problem=problem, status=status, typed=typed)


def trial_page(
    request: Request, caller: Caller, name: str, number: int, *, told: str = "", problem: str = "", status: int = 200
) -> Response:
    """A trial."""
    shown = live.trial(site_of(request), caller, name, number)
    values: dict[str, Any] = {"name": name, "number": number}
    return watched(request, caller, "trial.html", shown, told=told, problem=problem, status=status, **values)


def watched(
    request: Request,
    caller: Caller,
    template: str,
    shown: Live,
    *,
    told: str = "",
    problem: str = "",
    status: int = 200,
    **values: Any,
) -> Response:
    """A page with a part that goes on by itself."""
    view = shown.read()
    answer = page(
        template,
        caller=caller,
        csrf=csrf_token(request),
        said=desk_of(request).told(told),
        problem=problem,
        view=view,
        live=shown.html(view),
        events=shown.events,
        **values,
    )
    answer.status_code = status
    return answer
