"""`/login` and `/logout`: pages without scripts."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, Template

from hpo.web.access import Caller, Role, csrf_token, need
from hpo.web.attempts import Attempts
from hpo.web.sessions import COOKIES, SESSION_SECONDS
from hpo.web.site import Site
from hpo.web.users import MOST_CHARACTERS, end_sessions, verified

router = APIRouter(include_in_schema=False)

_WRONG = "The name or the password is wrong."
# Each check takes 64 MiB: many at once must not take the machine's memory.
_checks = BoundedSemaphore(2)


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """The form to log in with; without a login there is nothing to do."""
    site: Site = request.app.state.site
    if not site.login:
        return RedirectResponse("/", 303)
    return _page(request, next=_within(next))


@router.post("/login")
def log_in(
    request: Request, name: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "", next: str = Form("/")
) -> Response:
    """Begin a session; a wrong name and a wrong password have the same answer, after the same time."""
    site: Site = request.app.state.site
    attempts: Attempts = request.app.state.attempts
    address = request.client.host if request.client is not None else ""
    if not site.login:
        return RedirectResponse("/", 303)
    wait = attempts.begin(address, name)
    if wait is not None:
        text = f"Too many attempts: try again in {max(1, round(wait / 60))} min."
        return _page(request, next=_within(next), problem=text, status=429, headers={"Retry-After": f"{wait:.0f}"})
    with _checks:
        user = verified(site.store, name, password[: MOST_CHARACTERS + 1])
    if user is None:
        return _page(request, next=_within(next), problem=_WRONG, status=401)
    attempts.succeed(address, name)
    answer = RedirectResponse(_within(next), 303)
    answer.set_cookie(
        COOKIES[site.is_encrypted],
        site.sessions.cookie_of(user),
        max_age=SESSION_SECONDS,
        secure=site.is_encrypted,
        httponly=True,
        samesite="lax",
    )
    return answer


@router.get("/logout")
def logout_page(request: Request, caller: Annotated[Caller, Depends(need(Role.VIEWER))]) -> Response:
    """Who is logged in, and a button that ends it."""
    if caller.csrf is None:
        return RedirectResponse("/", 303)
    return _page(request, caller=caller)


@router.post("/logout")
def log_out(request: Request, caller: Annotated[Caller, Depends(need(Role.VIEWER))]) -> Response:
    """End all sessions of the caller."""
    site: Site = request.app.state.site
    if caller.csrf is not None:
        end_sessions(site.store, caller.name)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIES[site.is_encrypted], secure=site.is_encrypted, httponly=True, samesite="lax")
    return answer


def _page(
    request: Request,
    *,
    next: str = "/",
    problem: str | None = None,
    caller: Caller | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    template, style = _template()
    csrf = "" if caller is None else csrf_token(request)
    text = template.render(next=next, problem=problem, caller=caller, csrf=csrf, style=style)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{hashed}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        text, status, headers={**(headers or {}), "Content-Security-Policy": policy, "Cache-Control": "no-store"}
    )


@functools.cache
def _template() -> tuple[Template, str]:
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True)
    return environment.get_template("login.html"), (folder / "login.css").read_text(encoding="utf-8")


def _within(path: str) -> str:
    r"""A path of this server, and no address of another: `//x`, and to browsers `/\x`, would be one."""
    is_plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_plain else "/"
