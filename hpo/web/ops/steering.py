"""The routes of `/ops` that change something: forms, each followed by the page that it stands on.

Who may use a form is decided here, not by whether it was shown. What was done is written into the audit trail.
"""

from __future__ import annotations

import shlex
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from hpo.errors import HpoError, SpecError
from hpo.printable import counted, in_a_line, mebibytes
from hpo.queue.control import set_limits
from hpo.queue.enqueue import enqueue_points
from hpo.service.delete import Belongings, belongings_of, delete_study
from hpo.service.points import point_of_words
from hpo.service.steer import request_study, request_trial
from hpo.study.states import Request as TrialRequest
from hpo.study.states import StudyState
from hpo.web.access import Caller, Role, csrf_token, need
from hpo.web.audit import audited
from hpo.web.ops import addresses
from hpo.web.ops.composing import site_of, study_page, trial_page
from hpo.web.ops.desk import desk_of
from hpo.web.ops.live import check
from hpo.web.ops.pages import PageRoute, page, status_and_words

router = APIRouter(route_class=PageRoute)

Operator = Annotated[Caller, Depends(need(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(need(Role.ADMIN))]
Word = Annotated[str, Form(max_length=20)]
Line = Annotated[str, Form(max_length=5000)]

RESUME = "resume"
KILL = TrialRequest.KILL.value
OF_STUDY = {
    TrialRequest.PAUSE.value: StudyState.PAUSED,
    RESUME: StudyState.RUNNING,
    TrialRequest.STOP.value: StudyState.STOPPED,
    KILL: StudyState.KILLED,
}
OF_TRIAL = {RESUME: None} | {one.value: one for one in (TrialRequest.PAUSE, TrialRequest.STOP, TrialRequest.KILL)}


@router.post("/studies/{name}/request")
def ask_study(request: Request, caller: Operator, name: str, verb: Word, sure: Word = "") -> Response:
    """Pause, resume, stop or kill a study."""
    site, study = site_of(request), addresses.name_in(name)
    check(site.store, caller, study)
    try:
        if verb not in OF_STUDY:
            raise SpecError(f"'{verb}' should be one of {', '.join(OF_STUDY)}")
        if verb == KILL and not sure:
            raise SpecError("to kill a study ends its running trials as failed: tick the box beside the button")
        with audited(site.store, caller, verb, study=study):
            said = request_study(site.store, study, OF_STUDY[verb], artifacts=site.artifacts)
    except HpoError as error:
        return _again(request, caller, study, error)
    return _then(request, addresses.of_study(study), said)


@router.post("/studies/{name}/extend")
def extend(request: Request, caller: Operator, name: str, changes: Line) -> Response:
    """Change the limits of a study: `trials=+20 hours=2`."""
    site, study = site_of(request), addresses.name_in(name)
    check(site.store, caller, study)
    try:
        with audited(site.store, caller, "set", study=study, changes=changes.split()):
            said = set_limits(site.store, study, changes.split())
    except HpoError as error:
        return _again(request, caller, study, error, changes=changes)
    return _then(request, addresses.of_study(study), said)


@router.post("/studies/{name}/enqueue")
def enqueue(request: Request, caller: Operator, name: str, point: Line) -> Response:
    """Add a trial at a point: `lr=1e-3 depth=2`, with quotes as in a shell."""
    site, study = site_of(request), addresses.name_in(name)
    check(site.store, caller, study)
    try:
        with audited(site.store, caller, "enqueue", study=study, point=point) as detail:
            enqueued = enqueue_points(site.store, study, [point_of_words(_words(point))])
            detail["trials"] = list(enqueued.numbers)
    except HpoError as error:
        return _again(request, caller, study, error, point=point)
    return _then(request, addresses.of_study(study), str(enqueued))


@router.post("/studies/{name}/trials/{number}/request")
def ask_trial(request: Request, caller: Operator, name: str, number: int, verb: Word) -> Response:
    """Pause, resume, stop or kill a trial."""
    site, study = site_of(request), addresses.name_in(name)
    check(site.store, caller, study, number)
    try:
        if verb not in OF_TRIAL:
            raise SpecError(f"'{verb}' should be one of {', '.join(OF_TRIAL)}")
        with audited(site.store, caller, verb, study=study, trial=number):
            said = request_trial(site.store, study, number, OF_TRIAL[verb], artifacts=site.artifacts)
    except HpoError as error:
        status, words = status_and_words(error)
        return trial_page(request, caller, study, number, problem=words, status=status)
    return _then(request, addresses.of_study(study, "trials", number), said)


@router.get("/studies/{name}/delete")
def ask_to_delete(request: Request, caller: Admin, name: str) -> Response:
    """Asks for the name of the study that is to be deleted."""
    study = addresses.name_in(name)
    check(site_of(request).store, caller, study)
    return _delete_page(request, caller, study)


@router.post("/studies/{name}/delete")
def delete(request: Request, caller: Admin, name: str, typed: Line) -> Response:
    """Delete a study whose name was typed again."""
    site, study = site_of(request), addresses.name_in(name)
    check(site.store, caller, study)
    if typed.strip() not in (study.strip(), in_a_line(study).strip()):
        return _delete_page(request, caller, study, problem=f"'{typed}' is not its name: nothing was deleted")
    try:
        with audited(site.store, caller, "delete", study=study) as detail:
            deleted = delete_study(site.store, study, artifacts=site.artifacts)
            detail["trials"] = deleted.trials
    except HpoError as error:
        return _delete_page(request, caller, study, problem=str(error))
    said = f"study {study} was deleted: {counted(deleted.trials, 'trial')}, {mebibytes(deleted.size)} of artifacts"
    return _then(request, addresses.ROOT, "\nnot removed: ".join([said, *deleted.problems]))


def _then(request: Request, address: str, said: str) -> Response:
    """The page of an address, which says so; to load it again repeats nothing."""
    return RedirectResponse(f"{address}?told={desk_of(request).tell(said)}", HTTPStatus.SEE_OTHER)


def _again(request: Request, caller: Caller, study: str, error: HpoError, **typed: str) -> Response:
    """The study's page with what was wrong, and with what was typed."""
    status, words = status_and_words(error)
    return study_page(request, caller, study, problem=words, status=status, **typed)


def _words(point: str) -> list[str]:
    try:
        return shlex.split(point)
    except ValueError as error:
        raise SpecError(f"'{point}' cannot be read: {error}") from error


def _delete_page(request: Request, caller: Caller, study: str, *, problem: str = "") -> Response:
    site = site_of(request)
    found: Belongings = belongings_of(site.store, study, artifacts=site.artifacts)
    answer = page(
        "delete.html",
        caller=caller,
        csrf=csrf_token(request),
        name=study,
        found=found,
        size=mebibytes(found.size),
        problem=problem,
    )
    if problem:
        answer.status_code = HTTPStatus.CONFLICT
    return answer
