"""What the page of all studies shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from hpo.printable import counted
from hpo.report.words import shown
from hpo.results.failures import FailedAlike, failures_by_cause
from hpo.results.live import LiveStudy, LiveWorker
from hpo.service.live import LiveReader
from hpo.store import Store
from hpo.study.states import TrialState
from hpo.web.ops.running import moment_of

STUDIES_OF_A_PAGE = 50
CAUSES = 10
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


@dataclass(frozen=True)
class StudiesView:
    """A page of the studies that somebody may see: those that are trained first, then the newest.

    Attributes:
        causes: of each study with failures, the most frequent cause.
        running: trials of all of them.
        q: a part of the names that were asked for.
        page: counts from 1.
        total: the number of studies, on all pages.
    """

    studies: Sequence[LiveStudy]
    workers: Sequence[LiveWorker]
    running: int
    failures: Sequence[FailedAlike]
    causes: Mapping[str, str]
    q: str
    page: int
    pages: int
    total: int
    moment: datetime

    @property
    def alive(self) -> Sequence[LiveWorker]:
        """The workers that are not lost."""
        return [worker for worker in self.workers if not worker.is_lost]

    def address(self, page: int) -> str:
        """The query of another page."""
        return urlencode({"q": self.q, "page": page})


def read_studies(
    store: Store, reader: LiveReader, sees: Callable[[str], bool], *, q: str = "", page: int = 1
) -> StudiesView:
    """Read them.

    Args:
        sees: whether a study may be shown.
    """
    view = reader.look()
    with store.read() as connection:
        failures = failures_by_cause(connection)
    seen = [one for one in reversed(view.studies) if sees(one.name) and q.casefold() in one.name.casefold()]
    names = {one.name for one in seen}
    busy = {one.study for one in view.trials}
    seen.sort(key=lambda one: one.name not in busy)
    failures = [one for one in failures if one.study in names]
    pages = max(1, -(-len(seen) // STUDIES_OF_A_PAGE))
    page = min(page, pages)
    return StudiesView(
        studies=seen[(page - 1) * STUDIES_OF_A_PAGE : page * STUDIES_OF_A_PAGE],
        workers=view.workers,
        running=sum(one.study in names for one in view.trials),
        failures=failures[:CAUSES],
        causes={one.study: one.cause for one in reversed(failures)},
        q=q,
        page=page,
        pages=pages,
        total=len(seen),
        moment=moment_of(view),
    )


def ended(study: LiveStudy) -> int:
    """How many of its trials have ended."""
    return sum(study.counts.get(state, 0) for state in ENDED)


def best_in_words(study: LiveStudy) -> str:
    """The value of the best trial; of several objectives, how many trials are on the front."""
    return shown(study.best_value) if study.on_front is None else f"{counted(study.on_front, 'trial')} on the front"
