"""What verbs do with studies, through a server: the methods of `hpo.service.studies.Studies`, and `submit`.

with hpo.connect("https://hpo.example.com", token_file="token") as studies:
    studies.status("digits-dnn")
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from hpo.client.connection import Connection, path_of
from hpo.errors import SpecError
from hpo.queue.enqueue import Point
from hpo.results.kept import KeptCheckpoints
from hpo.results.live import LiveView
from hpo.results.query import EXPECTED, Query, Table
from hpo.results.status import StudyStatus
from hpo.results.trial import TrialRecord
from hpo.service.delete import Belongings, Deleted
from hpo.service.studies import Best
from hpo.service.trial_details import TrialDetails
from hpo.service.trial_log import LogPart
from hpo.study.states import Request, TrialState

A_PAGE = 1_000
SECONDS_OF_A_SUBMISSION = 400.0
TIMES = ("started", "ended")  # columns


class StudiesOfServer(AbstractContextManager["StudiesOfServer"]):
    """The studies behind a server, as far as the token is for them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def overview(self) -> list[StudyStatus]:
        return [StudyStatus.from_json(plain) for plain in self._get("studies")]

    def status(self, study: str) -> tuple[StudyStatus, KeptCheckpoints]:
        plain = self._get(path_of(study))
        return StudyStatus.from_json({k: v for k, v in plain.items() if k != "kept"}), KeptCheckpoints(**plain["kept"])

    def live(self, study: str | None = None) -> LiveView:
        return LiveView.from_json(self._get("live" if study is None else path_of(study, "live")))

    def trials(self, study: str, query: Query) -> list[TrialRecord]:
        found: list[TrialRecord] = []
        while True:
            asked = {**_asked(query), "offset": len(found), "limit": A_PAGE}
            page = self._get(path_of(study, "trials"), asked)
            found += map(TrialRecord.from_json, page["trials"])
            if len(found) >= page["total"] or not page["trials"]:
                return found

    def best(self, study: str, query: Query, k: int | None) -> Best:
        plain = self._get(path_of(study, "best"), {**_asked(query), "k": k})
        records = [TrialRecord.from_json(one) for one in plain["trials"]]
        return Best(records, plain["objectives"], plain["are_infeasible"])

    def table(self, study: str, query: Query, k: int | None, *, is_of_best: bool) -> Table:
        columns = None if query.columns is None else list(query.columns)
        asked = {**_asked(query), "columns": columns, "k": k, "is_of_best": is_of_best}
        found: Mapping[str, list[Any]] = self._get(path_of(study, "table"), asked)["columns"]
        return {name: list(map(_time, values)) if name in TIMES else values for name, values in found.items()}

    def details(self, study: str, trial: int) -> TrialDetails:
        plain = self._get(path_of(study, "trials", trial))
        return TrialDetails.from_json(plain, log_end=plain["log_end"])

    def log(self, study: str, trial: int, offset: int = 0) -> LogPart:
        plain = self._get(path_of(study, "trials", trial, "log"), {"offset": offset})
        return LogPart(**{**plain, "state": TrialState(plain["state"])})

    def request(self, study: str, trial: int | None, request: Request | None) -> str:
        verb = "resume" if request is None else request.value
        parts = [verb] if trial is None else ["trials", trial, verb]
        return self._done(self._connection.ask("POST", path_of(study, *parts)))

    def set(self, study: str, changes: Sequence[str]) -> str:
        limits: dict[str, str | None] = {}
        for change in changes:
            name, equals, value = change.partition("=")
            if not equals:
                raise SpecError(f"'{change}' should be KEY=VALUE, such as trials=+50")
            limits[name] = None if value == "none" else value
        return self._done(
            self._connection.ask("PATCH", path_of(study, "limits"), json={"limits": limits}, headers=_once())
        )

    def enqueue(self, study: str, points: Sequence[Point]) -> str:
        body = {
            "points": [dict(point.values) for point in points],
            "names": [point.where for point in points],
            "are_texts": all(point.is_text for point in points),
        }
        return self._done(self._connection.ask("POST", path_of(study, "trials"), json=body, headers=_once()))

    def belongings(self, study: str) -> Belongings:
        plain = self._get(path_of(study, "belongings"))
        paths = {name: tuple(map(Path, plain[name])) for name in ("folders", "homes")}
        return Belongings(
            **{**plain, **paths, "referring": tuple(plain["referring"]), "reruns": tuple(plain["reruns"])}
        )

    def delete(self, study: str, *, force: bool = False) -> Deleted:
        plain = self._connection.ask("DELETE", path_of(study), params={"force": force}, is_repeatable=False)
        return Deleted(**{**plain, "problems": tuple(plain["problems"])})

    def submit(
        self,
        text: str,
        *,
        file: str = "study.yaml",
        name: str | None = None,
        changes: Sequence[str] = (),
        is_change_accepted: bool = False,
    ) -> tuple[str, Sequence[str]]:
        """Create or continue a study of a file's text: a line with the outcome, and what should be known about it.

        Raises:
            SpecError: it is invalid, its batch fails, or it names classes beyond the server's project folder.
            StoreError: there is a study of this name that searches something else.
        """
        asked = {"file": file, "name": name, "set": list(changes), "accept_changes": is_change_accepted}
        headers = {**_once(), "Content-Type": "application/yaml"}
        plain = self._connection.ask(
            "POST",
            "studies",
            params=asked,
            content=text.encode(),
            headers=headers,
            seconds=SECONDS_OF_A_SUBMISSION,
        )
        return plain["message"], plain["notes"]

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._connection.ask("GET", path, params=params)

    @staticmethod
    def _done(plain: Mapping[str, Any]) -> str:
        return str(plain["message"])


def connect(url: str, token_file: Path | None, *, is_plain_allowed: bool = False) -> StudiesOfServer:
    """The studies behind a server; see `Connection`."""
    return StudiesOfServer(Connection(url, token_file, is_plain_allowed=is_plain_allowed))


def _asked(query: Query) -> dict[str, Any]:
    return {
        "where": None if query.where is None else query.where.text,
        "sort": [f"-{name}" if falls else name for name, falls in query.sort] or None,
        "by": [*query.by, *([EXPECTED] if query.by_expected else [])] or None,
    }


def _once() -> dict[str, str]:
    """The same request, sent again by this process since its answer was lost, is done once."""
    return {"Idempotency-Key": uuid.uuid4().hex}


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).replace(tzinfo=None)
