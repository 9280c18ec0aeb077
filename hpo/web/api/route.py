"""What all routes of `/api/v1` share: bounded requests, no unknown options, errors as problems, and who calls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from hpo.errors import NotFoundError, SpecError, nearest
from hpo.service.studies import StudiesOfStore
from hpo.store import Store
from hpo.study.states import Request as TrialRequest
from hpo.web.access import Caller, Role, caller_of, need
from hpo.web.problems import problem
from hpo.web.site import Site

MOST_BYTES = 1_000_000  # of a request's body
MOST_NUMBER = 2**31 - 1  # of a trial: the store's INTEGER
PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["status", "title", "detail"],
    "properties": {
        "status": {"type": "integer"},
        "title": {"type": "string"},
        "detail": {"type": "string", "description": "What was wrong, and what would be right."},
    },
}
_WORDS = {
    401: "Nobody is logged in",
    403: "The caller's role does not suffice",
    404: "There is no such study, trial or file",
    409: "It contradicts what is there",
    413: "The body is too large",
    422: "The request is wrong",
    503: "The store cannot be reached",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {"application/problem+json": {"schema": PROBLEM}}}
    for status, words in _WORDS.items()
}


class Route(APIRoute):
    """A route that refuses bodies that are too large, options that it does not have, and conditions."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, after these checks."""
        handle = super().get_route_handler()
        options = {str(field.alias) for field in self.dependant.query_params}

        async def checked(request: Request) -> Response:
            try:
                for option in request.query_params:
                    if option not in options:
                        hint = nearest(option, options) or "."
                        known = f" There are {', '.join(sorted(options))}" if options else ""
                        raise SpecError(f"there is no option '{option}' here{hint}{known}")
                if request.method != "GET" and {"if-match", "if-unmodified-since"} & set(request.headers):
                    raise HTTPException(412, "answers have no entity tags: leave If-Match and If-Unmodified-Since out")
                return await handle(Request(request.scope, _bounded(request)))
            except NotFoundError:
                if caller_of(request).studies is None:
                    raise
                # the message names the studies that there are
                return problem(404, "there is no such study, or the study has no such trial")

        return checked


def _bounded(request: Request) -> Callable[[], Coroutine[Any, Any, MutableMapping[str, Any]]]:
    size = 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > MOST_BYTES:
            raise HTTPException(413, f"the request has more than {MOST_BYTES:,} bytes")
        return message

    return receive


Viewer = Annotated[Caller, Depends(need(Role.VIEWER))]
Operator = Annotated[Caller, Depends(need(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(need(Role.ADMIN))]


def _site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def _store_of(request: Request) -> Store:
    return _site_of(request).store


def _studies_of(request: Request) -> StudiesOfStore:
    site = _site_of(request)
    return StudiesOfStore(site.store, site.artifacts)


def _study_name(request: Request, study: str) -> str:
    """The study's name in the path, if the caller may know of it.

    Raises:
        NotFoundError: they may not, or no study can have that name.
    """
    if "\0" in study or not caller_of(request).sees(study):
        raise NotFoundError("there is no such study")
    return study


OfSite = Annotated[Site, Depends(_site_of)]
OfStore = Annotated[Store, Depends(_store_of)]
OfStudies = Annotated[StudiesOfStore, Depends(_studies_of)]
StudyName = Annotated[str, Depends(_study_name)]
TrialNumber = Annotated[int, Path(ge=0, le=MOST_NUMBER)]

# By verb, what is requested of a study or a trial.
STEERING: Mapping[str, TrialRequest | None] = {
    TrialRequest.PAUSE.value: TrialRequest.PAUSE,
    "resume": None,
    TrialRequest.STOP.value: TrialRequest.STOP,
    TrialRequest.KILL.value: TrialRequest.KILL,
}
