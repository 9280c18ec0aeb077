"""Trials: listed, looked at, enqueued and steered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import Connection

from hpo.queue.enqueue import Enqueued, Point, enqueue_points
from hpo.results import query as asked
from hpo.results.study import Study
from hpo.study.states import Request as TrialRequest
from hpo.web.api.answers import (
    BestAnswer,
    CurveAnswer,
    DetailsAnswer,
    DoneAnswer,
    EnqueuedAnswer,
    LogAnswer,
    TableAnswer,
    TrialsAnswer,
)
from hpo.web.api.idempotency import IdempotencyKey, Once
from hpo.web.api.route import STEERING, OfStore, OfStudies, Operator, Route, StudyName, TrialNumber, Viewer
from hpo.web.audit import audited

MOST_A_PAGE, MOST_POINTS = 1_000, 1_000
MOST_OFFSET = 10**9
LONGEST = 4_000  # characters of an expression

router = APIRouter(route_class=Route)
PATH = "/studies/{study:path}"

Where = Annotated[
    str | None,
    Query(max_length=LONGEST, description="Only trials for which it holds, such as `lr < 0.01 and state == 'pruned'`."),
]
Names = Annotated[list[str] | None, Query(max_length=100)]
Sort = Annotated[list[str] | None, Query(max_length=100, description="Columns; `-value` descends. Else by number.")]
Number = Annotated[int | None, Query(alias="k", ge=1, le=MOST_A_PAGE, description="Trials; of each group of `by`.")]


def _query(
    where: str | None, sort: list[str] | None = None, *, columns: list[str] | None = None, by: list[str] | None = None
) -> asked.Query:
    return asked.Query.of(where, _split(sort), columns=_split(columns), by=_split(by))


def _split(names: list[str] | None) -> list[str] | None:
    """`sort=a&sort=b` and `sort=a,b` are the same."""
    return None if names is None else [part for name in names for part in name.split(",")]


@router.get(PATH + "/trials", response_model=TrialsAnswer)
def trials(
    caller: Viewer,
    study: StudyName,
    store: OfStore,
    where: Where = None,
    sort: Sort = None,
    offset: Annotated[int, Query(ge=0, le=MOST_OFFSET)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_A_PAGE)] = 100,
) -> Any:
    """The trials of a study, a page at a time."""
    page = Study(store, study).page_of(_query(where, sort), offset=offset, limit=limit)
    return {
        "total": page.total,
        "offset": offset,
        "limit": limit,
        "trials": [found.to_json() for found in page.trials],
    }


@router.get(PATH + "/best", response_model=BestAnswer)
def best(
    caller: Viewer,
    study: StudyName,
    studies: OfStudies,
    k: Number = None,
    where: Where = None,
    sort: Sort = None,
    by: Names = None,
) -> Any:
    """The best trials: complete ones, or the others while there are none; of several objectives, the front."""
    found = studies.best(study, _query(where, sort, by=by), k)
    return {**vars(found), "trials": [one.to_json() for one in found.trials]}


@router.get(PATH + "/table", response_model=TableAnswer)
def table(
    caller: Viewer,
    study: StudyName,
    studies: OfStudies,
    columns: Names = None,
    where: Where = None,
    sort: Sort = None,
    by: Names = None,
    k: Number = None,
    is_of_best: bool = False,
) -> Any:
    """Columns of all trials that are asked for, or of the best of them."""
    found = studies.table(study, _query(where, sort, columns=columns, by=by), k, is_of_best=is_of_best)
    return {"columns": {name: [_plain(value) for value in values] for name, values in found.items()}}


class PointsBody(BaseModel):
    """Points to try."""

    model_config = ConfigDict(extra="forbid")

    points: list[dict[str, JsonValue]] = Field(min_length=1, max_length=MOST_POINTS)
    names: list[str] | None = Field(None, description="What to call each point in an error.")
    are_texts: bool = Field(False, description="The values are texts, to be read as numbers where they should be.")


@router.post(PATH + "/trials", response_model=EnqueuedAnswer)
def enqueue(
    request: Request,
    caller: Operator,
    study: StudyName,
    store: OfStore,
    body: PointsBody,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Enqueue trials at points: all of them, or none. A point that still waits is not entered again."""
    names = body.names or [f"point {place}" if len(body.points) > 1 else "" for place in range(len(body.points))]
    if len(names) != len(body.points):
        raise HTTPException(422, f"names: there are {len(names)}, and {len(body.points)} points")
    points = [
        Point(
            {key: _text(value) for key, value in one.items()} if body.are_texts else one, name, is_text=body.are_texts
        )
        for one, name in zip(body.points, names, strict=True)
    ]

    def write(keep: Callable[[Connection, Mapping[str, Any]], None]) -> Mapping[str, Any]:
        with audited(store, caller, "enqueue", study=study) as detail:
            found = enqueue_points(store, study, points, also=lambda connection, its: keep(connection, _enqueued(its)))
            detail["trials"] = list(found.numbers)
        return _enqueued(found)

    return Once.of(idempotency_key, caller, request, body.model_dump_json()).do(store, write)


@router.get(PATH + "/trials/{trial}/log", response_model=LogAnswer)
def log(
    caller: Viewer,
    study: StudyName,
    trial: TrialNumber,
    studies: OfStudies,
    offset: Annotated[
        int, Query(ge=-MOST_OFFSET, le=MOST_OFFSET, description="In bytes; below 0 from the end, such as -4000.")
    ] = 0,
) -> Any:
    """A part of a trial's log, if it is on the server's machine or in its object store."""
    return asdict(studies.log(study, trial, offset))


@router.get(PATH + "/trials/{trial}/curve", response_model=CurveAnswer)
def curve(caller: Viewer, study: StudyName, trial: TrialNumber, studies: OfStudies) -> Any:
    """The metrics of each epoch, or validation."""
    found = studies.details(study, trial)
    return {"unit": found.record.unit.value, "curve": found.to_json()["curve"]}


def _steering(verb: str, request: TrialRequest | None) -> None:
    def steer(caller: Operator, study: StudyName, trial: TrialNumber, studies: OfStudies, store: OfStore) -> Any:
        with audited(store, caller, verb, study=study, trial=trial):
            said = studies.request(study, trial, request)
        return {"message": said}

    path = f"{PATH}/trials/{{trial}}/{verb}"
    router.post(path, response_model=DoneAnswer, name=f"{verb}_trial", summary=f"{verb.capitalize()} one trial")(steer)


for verb, its_request in STEERING.items():
    _steering(verb, its_request)


@router.get(PATH + "/trials/{trial}", response_model=DetailsAnswer)
def one_trial(caller: Viewer, study: StudyName, trial: TrialNumber, studies: OfStudies) -> Any:
    """Everything about one trial."""
    found = studies.details(study, trial)
    return {**found.to_json(), "log_end": found.log_end}


def _enqueued(found: Enqueued) -> dict[str, Any]:
    return {"message": str(found), "trials": list(found.numbers)}


def _plain(value: Any) -> Any:
    """A time as in the JSON of a trial."""
    return value.isoformat(timespec="milliseconds") + "Z" if hasattr(value, "isoformat") else value


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else str(value)
