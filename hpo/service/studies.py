"""What verbs do with the studies of a store; `hpo.client` does the same through a server, for those without the store.

The command line, and the server's interface for programs, call these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from hpo.queue.control import set_limits
from hpo.queue.enqueue import Point, enqueue_points
from hpo.results.kept import KeptCheckpoints
from hpo.results.live import LiveView
from hpo.results.query import Query, Table
from hpo.results.status import StudyStatus, list_studies
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.service.delete import Belongings, Deleted, belongings_of, delete_study
from hpo.service.trial_details import TrialDetails, trial_details
from hpo.service.trial_log import LogPart, read_log
from hpo.store import Store
from hpo.study.states import Request, StudyState

STATES = {
    Request.PAUSE: StudyState.PAUSED,
    None: StudyState.RUNNING,
    Request.STOP: StudyState.STOPPED,
    Request.KILL: StudyState.KILLED,
}
FEW = 5  # best trials, unless another number is asked for


@dataclass(frozen=True)
class Best:
    """The best trials of a study.

    Attributes:
        objectives: the metrics.
        are_infeasible: there is no best trial, since those with a value violate a constraint.
    """

    trials: Sequence[TrialRecord]
    objectives: Sequence[str]
    are_infeasible: bool = False


class Studies(Protocol):
    """Studies, in a store or behind a server. Each method raises NotFoundError where there is no such study or trial,
    and StoreError where what is asked for contradicts what is there."""

    def overview(self) -> list[StudyStatus]:
        """The status of every study, the oldest first."""

    def status(self, study: str) -> tuple[StudyStatus, KeptCheckpoints]:
        """A study's state, progress and limits, and the checkpoints that are kept."""

    def live(self, study: str | None = None) -> LiveView:
        """What goes on now, in all studies or in one."""

    def trials(self, study: str, query: Query) -> list[TrialRecord]:
        """The trials that are asked for, without their curves."""

    def best(self, study: str, query: Query, k: int | None) -> Best:
        """The k best of them; by default five, one of each group, or a whole front."""

    def table(self, study: str, query: Query, k: int | None, *, is_of_best: bool) -> Table:
        """Columns of the trials that are asked for, or of the best of them."""

    def details(self, study: str, trial: int) -> TrialDetails:
        """Everything about one trial."""

    def log(self, study: str, trial: int, offset: int = 0) -> LogPart:
        """A part of a trial's log."""

    def request(self, study: str, trial: int | None, request: Request | None) -> str:
        """Pause, stop, kill or resume (None) a study, or one trial; a line with the outcome."""

    def set(self, study: str, changes: Sequence[str]) -> str:
        """Change limits by `key=value`; a line with the new ones."""

    def enqueue(self, study: str, points: Sequence[Point]) -> str:
        """Enqueue trials at these points; lines with the outcome."""

    def belongings(self, study: str) -> Belongings:
        """What would go with the study."""

    def delete(self, study: str, *, force: bool = False) -> Deleted:
        """Delete the study with all its trials."""


class StudiesOfStore(AbstractContextManager["StudiesOfStore"]):
    """The studies of an open store, which is closed at the end.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.
    """

    def __init__(self, store: Store, artifacts: Path) -> None:
        self._store = store
        self._artifacts = artifacts

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def overview(self) -> list[StudyStatus]:
        return list_studies(self._store)

    def status(self, study: str) -> tuple[StudyStatus, KeptCheckpoints]:
        found = Study(self._store, study)
        return found.status(), found.kept_checkpoints()

    def live(self, study: str | None = None) -> LiveView:
        from hpo.service.live import live_view  # whose forecasts take a moment to import

        return live_view(self._store, study)

    def trials(self, study: str, query: Query) -> list[TrialRecord]:
        return Study(self._store, study).trials_of(query, has_curves=False)

    def best(self, study: str, query: Query, k: int | None) -> Best:
        found = Study(self._store, study)
        records = found.best_of(query, _limit(found, query, k), has_curves=False)
        are_infeasible = not records and bool(
            found.page_of(Query.of("not feasible and value is not None"), limit=1).total
        )
        return Best(records, found.objectives.metrics, are_infeasible)

    def table(self, study: str, query: Query, k: int | None, *, is_of_best: bool) -> Table:
        found = Study(self._store, study)
        best = _limit(found, query, k) if is_of_best else None
        return found.table_of(query, is_of_best=is_of_best, best=best)

    def details(self, study: str, trial: int) -> TrialDetails:
        return trial_details(self._store, study, trial, artifacts=self._artifacts)

    def log(self, study: str, trial: int, offset: int = 0) -> LogPart:
        return read_log(self._store, study, trial, artifacts=self._artifacts, offset=offset)

    def request(self, study: str, trial: int | None, request: Request | None) -> str:
        from hpo.service.steer import request_study, request_trial  # which imports pydantic, a tenth of a second

        if trial is None:
            return request_study(self._store, study, STATES[request], artifacts=self._artifacts)
        return request_trial(self._store, study, trial, request, artifacts=self._artifacts)

    def set(self, study: str, changes: Sequence[str], *, also: Callable[[Connection, str], None] | None = None) -> str:
        return set_limits(self._store, study, changes, also=also)

    def enqueue(self, study: str, points: Sequence[Point]) -> str:
        return str(enqueue_points(self._store, study, points))

    def belongings(self, study: str) -> Belongings:
        return belongings_of(self._store, study, artifacts=self._artifacts)

    def delete(self, study: str, *, force: bool = False) -> Deleted:
        return delete_study(self._store, study, artifacts=self._artifacts, force=force)


def _limit(study: Study, query: Query, k: int | None) -> int | None:
    return k or (None if study.objectives.are_several else 1 if query.by else FEW)
