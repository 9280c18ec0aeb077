"""What the buttons of optuna-dashboard change, for operators: each write is known here, and is in the audit trail.

Three of them are done by our own verbs. To delete or rename a study takes its folders and its workers into account,
and optuna-dashboard's rename would copy it without our rows. A trial of a study of ours is ended by a request to its
worker, and gets its value from its training only: one NaN from a form would make the whole study unreadable.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hpo.errors import HpoError, SpecError, StoreError
from hpo.queue.control import request_trial
from hpo.service.delete import delete_study
from hpo.service.rename import rename_study
from hpo.store.tables import hpo_studies, studies, trials
from hpo.study import states
from hpo.web.audit import enter, withdraw
from hpo.web.callers import Caller, Role
from hpo.web.problems import problem, problem_of
from hpo.web.site import Site


@dataclass(frozen=True)
class _Write:
    """A request that changes something.

    Attributes:
        path: with groups `study` and `trial`, the numbers of their rows.
        own: does it in place of optuna-dashboard; None of a trial that is not ours.
    """

    methods: str
    path: str
    action: str
    role: Role = Role.OPERATOR
    own: Callable[[Site, _Target, Any], Response | None] | None = None

    def match(self, method: str, path: str) -> re.Match[str] | None:
        return re.fullmatch(self.path, path.rstrip("/")) if method in self.methods.split() else None


@dataclass(frozen=True)
class _Target:
    """What a request is about.

    Attributes:
        is_ours: whether the study is one of ours.
    """

    study: str | None = None
    trial: int | None = None
    is_ours: bool = False


async def answer_write(
    site: Site, caller: Caller, dashboard: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer a request of an operator that would change something.

    Args:
        dashboard: optuna-dashboard, whose storage may write.
    """
    try:
        answer, after = await _answer(site, caller, scope, receive)
        if answer is not None:
            await answer(scope, receive, send)
            return
    except ClientDisconnect:
        return
    except HTTPException as error:  # the body is too large
        await problem(error.status_code, error.detail, reason=error.detail)(scope, receive, send)
        return
    except (HpoError, SQLAlchemyError) as error:
        await problem_of(error)(scope, receive, send)
        return
    status = 500

    async def noted(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    assert after is not None
    body, entry = after
    await dashboard(scope, _replayed(body), noted)
    if status >= 400:
        await to_thread.run_sync(lambda: withdraw(site.store, entry))


async def _answer(
    site: Site, caller: Caller, scope: Scope, receive: Receive
) -> tuple[Response | None, tuple[bytes, int] | None]:
    """The answer, or the body of what optuna-dashboard is to answer with its entry in the audit trail."""
    for write in _WRITES:
        found = write.match(scope["method"], scope["path"])
        if found is not None:
            break
    else:
        text = "this cannot be changed here: change studies with hpo's own verbs, such as 'hpo stop STUDY'"
        return problem(405, text, reason=text, headers={"Allow": "GET, HEAD"}), None
    if caller.role < write.role:
        text = f"this needs the role {write.role.word}; {caller.name} is {caller.role.word}"
        return problem(403, text, reason=text), None
    body = await Request(scope, receive).body()
    numbers = {name: int(text) for name, text in found.groupdict().items() if text is not None}
    target = await to_thread.run_sync(lambda: _target(site, **numbers))
    detail = {} if target.trial is None else {"trial": target.trial}
    entry = await to_thread.run_sync(lambda: enter(site.store, caller, write.action, study=target.study, detail=detail))
    if write.own is None:
        return None, (body, entry)
    own = write.own
    try:
        answer = await to_thread.run_sync(lambda: own(site, target, _json(body)))
    except HpoError:
        await to_thread.run_sync(lambda: withdraw(site.store, entry))
        raise
    return (None, (body, entry)) if answer is None else (answer, None)


def _target(site: Site, study: int | None = None, trial: int | None = None) -> _Target:
    """
    Raises:
        StoreError: there is no such study or trial.
    """
    if study is None and trial is None:
        return _Target()
    wanted = select(studies.c.study_name, hpo_studies.c.created).select_from(studies.outerjoin(hpo_studies))
    number = None
    with site.store.read() as connection:
        if trial is not None:
            row = connection.execute(
                select(trials.c.study_id, trials.c.number).where(trials.c.trial_id == trial)
            ).first()
            if row is None or study not in (None, row.study_id):
                raise StoreError("the store has no such trial any more: load the page again")
            study, number = row.study_id, row.number
        found = connection.execute(wanted.where(studies.c.study_id == study)).first()
    if found is None:
        raise StoreError("the store has no such study any more: load the page again")
    return _Target(found.study_name, number, found.created is not None)


def _delete(site: Site, target: _Target, _: Any) -> Response:
    assert target.study is not None
    delete_study(site.store, target.study, artifacts=site.artifacts)
    return Response(status_code=204)


def _rename(site: Site, target: _Target, body: Any) -> Response:
    name = body.get("study_name") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise SpecError("the request should have the study's new name as 'study_name'")
    assert target.study is not None
    rename_study(site.store, target.study, name, artifacts=site.artifacts)
    with site.store.read() as connection:
        study_id = connection.scalar(select(studies.c.study_id).where(studies.c.study_name == name))
    # what optuna-dashboard's page reads of its own answer; it loads the rest anew
    summary: dict[str, Any] = {"study_id": study_id, "study_name": name, "directions": [], "user_attrs": []}
    return JSONResponse(summary | {"is_preferential": False}, 201)


def _tell(site: Site, target: _Target, body: Any) -> Response | None:
    state = str(body.get("state", "")).upper() if isinstance(body, dict) else ""
    if target.is_ours:
        if state != states.OptunaState.FAIL:
            raise StoreError("a trial of hpo gets its value from its training only")
        assert target.study is not None
        assert target.trial is not None
        request_trial(site.store, target.study, target.trial, states.Request.KILL)
        return Response(status_code=204)
    values = body.get("values") if isinstance(body, dict) else None
    if values is not None and not (isinstance(values, list) and all(map(_is_finite, values))):
        raise SpecError("the values should be finite numbers")
    return None


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError as error:
        raise SpecError("the request's body is not JSON") from error


def _replayed(body: bytes) -> Receive:
    """Receives a body that was read before."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


_STUDY, _TRIAL = r"(?P<study>\d{1,10})", r"(?P<trial>\d{1,10})"
_ARTIFACT = r"[0-9a-fA-F-]+"
_WRITES = (
    _Write("DELETE", rf"/api/studies/{_STUDY}", "delete", Role.ADMIN, own=_delete),
    _Write("POST", rf"/api/studies/{_STUDY}/rename", "rename", own=_rename),
    _Write("POST", rf"/api/trials/{_TRIAL}/tell", "tell", own=_tell),
    _Write("POST", r"/api/studies", "create"),
    _Write("PUT", rf"/api/studies/{_STUDY}(/{_TRIAL})?/note", "note"),
    _Write("POST", rf"/api/artifacts/{_STUDY}(/{_TRIAL})?", "upload"),
    _Write("DELETE", rf"/api/artifacts/{_STUDY}(/{_TRIAL})?/{_ARTIFACT}", "remove artifact"),
    _Write("POST", rf"/api/trials/{_TRIAL}/user-attrs", "set attributes"),
    _Write("POST", rf"/api/studies/{_STUDY}/{_TRIAL}/skip", "skip"),
    _Write("POST DELETE", rf"/api/studies/{_STUDY}/preference(/[\w-]+)?", "prefer"),
    _Write("PUT", rf"/api/studies/{_STUDY}/preference_feedback_component", "prefer"),
)
