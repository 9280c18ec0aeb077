"""Studies: listed, submitted, looked at, steered and deleted; and the workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from hpo.errors import NotFoundError, SpecError
from hpo.queue.control import set_limits
from hpo.queue.findings import findings_of
from hpo.queue.progress import find_study
from hpo.results.live import LiveView, LiveWorker
from hpo.results.study import Study
from hpo.service.submission import Submission, submit_in_process
from hpo.study.states import Request as TrialRequest
from hpo.study.states import StudyState
from hpo.web.api.answers import (
    BelongingsAnswer,
    DeletedAnswer,
    DoneAnswer,
    FindingAnswer,
    StatusAnswer,
    StudyAnswer,
    SubmittedAnswer,
)
from hpo.web.api.idempotency import IdempotencyKey, Once
from hpo.web.api.route import STEERING, Admin, OfSite, OfStore, OfStudies, Operator, Route, StudyName, Viewer
from hpo.web.audit import audited

YAML = ("application/yaml", "application/x-yaml", "text/yaml")
JSON = "application/json"
LONGEST = 200
SECONDS_TO_WAIT = 20.0  # for the submissions of others
PATH = "/studies/{study:path}"
_SUBMITTING = threading.Lock()  # each takes a gigabyte of memory

router = APIRouter(route_class=Route)
of_study = APIRouter(route_class=Route)  # whose paths match those of trials too, and therefore come after these


@router.get("/studies", response_model=list[StudyAnswer])
def studies(
    caller: Viewer,
    studies: OfStudies,
    state: Annotated[list[StudyState] | None, Query(description="Only studies in one of these states.")] = None,
) -> Any:
    """The studies of the store, the oldest first."""
    found = [study for study in studies.overview() if caller.sees(study.study)]
    return [study.to_json() for study in found if state is None or study.state in state]


async def _body(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/studies",
    response_model=SubmittedAnswer,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                YAML[0]: {"schema": {"type": "string", "description": "The text of a study file."}},
                JSON: {"schema": {"type": "object", "description": "The keys of a study file."}},
            },
        }
    },
)
def submit(
    request: Request,
    caller: Operator,
    site: OfSite,
    body: Annotated[bytes, Depends(_body)],
    file: Annotated[
        str, Query(max_length=LONGEST, description="Its path, for errors; names the study.")
    ] = "study.yaml",
    name: Annotated[str | None, Query(max_length=LONGEST, description="Of the study, instead of the file's.")] = None,
    set: Annotated[list[str] | None, Query(max_length=100, description="`KEY=VALUE` that override the file.")] = None,
    accept_changes: Annotated[bool, Query(description="Go on although data or code are other than before.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Create or continue a study, and leave the training to workers: as `hpo submit`, after one batch of it was tried.

    Its classes must be defined in the server's project folder.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (*YAML, JSON):
        raise HTTPException(415, f"send a study file as Content-Type: {YAML[0]}, or its keys as {JSON}")
    text = _text_of(body, is_json=kind == JSON)
    submission = Submission(
        text, PurePath(file).as_posix() or "study.yaml", name, tuple(set or ()), accept_changes, caller.studies
    )
    once = Once.of(idempotency_key, caller, request, body)

    def write(keep: Callable[[Connection, Mapping[str, Any]], None]) -> Mapping[str, Any]:
        spec, _ = submission.read(site.project)
        if not _SUBMITTING.acquire(timeout=SECONDS_TO_WAIT):
            raise HTTPException(503, "other studies are being submitted, one at a time: try again in a minute")
        try:
            with audited(site.store, caller, "submit", study=spec.study, file=submission.file):
                found = submit_in_process(submission, store=site.url, project=site.project, artifacts=site.artifacts)
        finally:
            _SUBMITTING.release()
        # the same file, submitted again, changes nothing: the answer need not be in the same transaction
        with site.store.write() as connection:
            keep(connection, found)
        return found

    return once.do(site.store, write)


@router.get("/workers", response_model=list[LiveWorker])
def workers(caller: Viewer, studies: OfStudies) -> Any:
    """The workers that have not ended, with those that were lost a while ago."""
    return studies.live().workers


@router.get("/live", response_model=LiveView)
def live(caller: Viewer, studies: OfStudies) -> Any:
    """What goes on now: studies, workers, running trials, and the last failures."""
    found = studies.live()
    return replace(
        found,
        studies=[one for one in found.studies if caller.sees(one.name)],
        trials=[one for one in found.trials if caller.sees(one.study)],
        failures=[one for one in found.failures if caller.sees(one.study)],
    )


@of_study.get(PATH + "/live", response_model=LiveView)
def live_of_study(caller: Viewer, study: StudyName, studies: OfStudies) -> Any:
    """What goes on now in one study; its workers may train others too."""
    return studies.live(study)


@of_study.get(PATH + "/findings", response_model=list[FindingAnswer])
def findings(caller: Viewer, study: StudyName, store: OfStore) -> Any:
    """What was found out about a study after its trials, the newest last: final, test, explanation, replay, earlier."""
    study_id, _ = find_study(store, study)
    with store.read() as connection:
        return [found.to_json() for found in findings_of(connection, study_id)]


@of_study.get(PATH + "/final", response_model=dict[str, Any])
def final(caller: Viewer, study: StudyName, store: OfStore) -> Any:
    """What the last `hpo finalize` found."""
    found = Study(store, study).final()
    if found is None:
        raise NotFoundError(f"study '{study}' has no final model: 'hpo finalize {study}' trains it")
    return found.to_json()


@of_study.get(PATH + "/report", response_class=HTMLResponse)
def report(caller: Viewer, study: StudyName, store: OfStore) -> HTMLResponse:
    """One page about a study, as `hpo report` writes it."""
    from hpo.report.writing import HTML, report_text

    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
    return HTMLResponse(report_text(store, study, HTML), headers={"Content-Security-Policy": policy})


class LimitsBody(BaseModel):
    """Limits to change."""

    model_config = ConfigDict(extra="forbid")

    limits: dict[str, int | float | str | None] = Field(
        min_length=1,
        description="trials, hours, gpu_hours, target, patience, priority: a number, '+20' to add, or null for none.",
    )


@of_study.patch(PATH + "/limits", response_model=DoneAnswer)
def limits(
    request: Request,
    caller: Operator,
    study: StudyName,
    store: OfStore,
    body: LimitsBody,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Change what a study may spend, also while it runs."""
    changes = [f"{name}={'none' if value is None else value}" for name, value in body.limits.items()]

    def write(keep: Callable[[Connection, Mapping[str, Any]], None]) -> Mapping[str, Any]:
        with audited(store, caller, "set", study=study, limits=body.limits):
            said = set_limits(
                store, study, changes, also=lambda connection, message: keep(connection, {"message": message})
            )
        return {"message": said}

    return Once.of(idempotency_key, caller, request, body.model_dump_json()).do(store, write)


def _steering(verb: str, request: TrialRequest | None) -> None:
    def steer(caller: Operator, study: StudyName, studies: OfStudies, store: OfStore) -> Any:
        with audited(store, caller, verb, study=study):
            said = studies.request(study, None, request)
        return {"message": said}

    path = f"{PATH}/{verb}"
    of_study.post(path, response_model=DoneAnswer, name=f"{verb}_study", summary=f"{verb.capitalize()} a study")(steer)


for verb, its_request in STEERING.items():
    _steering(verb, its_request)


@of_study.get(PATH + "/belongings", response_model=BelongingsAnswer)
def belongings(caller: Viewer, study: StudyName, studies: OfStudies) -> Any:
    """What would go with the study, if it were deleted."""
    found = studies.belongings(study)
    paths = {"folders": list(map(str, found.folders)), "homes": list(map(str, found.homes))}
    others = {
        "referring": list(filter(caller.sees, found.referring)),
        "reruns": list(filter(caller.sees, found.reruns)),
    }
    return {**vars(found), **paths, **others}


@of_study.delete(PATH, response_model=DeletedAnswer)
def delete(
    caller: Admin,
    study: StudyName,
    studies: OfStudies,
    store: OfStore,
    force: Annotated[bool, Query(description="Also while workers train it.")] = False,
) -> Any:
    """Delete a study with all its trials, and its folder on the server's machine."""
    with audited(store, caller, "delete", study=study) as detail:
        found = studies.delete(study, force=force)
        detail["trials"] = found.trials
    return asdict(found)


@of_study.get(PATH, response_model=StatusAnswer)
def status(caller: Viewer, study: StudyName, studies: OfStudies) -> Any:
    """A study's state, progress, limits, best trial and workers."""
    found, kept = studies.status(study)
    return {**found.to_json(), "kept": asdict(kept)}


def _text_of(body: bytes, *, is_json: bool) -> str:
    """The body as YAML, of which JSON is a part.

    Raises:
        SpecError: it is not text, or no JSON.
    """
    try:
        if not is_json:
            return body.decode("utf-8")
        # without escapes, which YAML reads in another way
        return json.dumps(json.loads(body), ensure_ascii=False, indent=1)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"the study file cannot be read: {str(error) or 'it is too deep'}") from None
