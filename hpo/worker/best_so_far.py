"""The best trial of a study so far, as a worker tells it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from hpo.queue.best import best_trials
from hpo.queue.front import number_on_front
from hpo.queue.report import trainings_before
from hpo.results.trial_records import read_records
from hpo.study.spec import StudySpec


@dataclass(frozen=True)
class Best:
    """The best trial so far.

    Attributes:
        value: of the first objective.
        remark: how far it was trained, for one that is not complete; see `TrialRecord.remark`.
        on_front: of several objectives, how many complete trials no other one beats in all of them.
    """

    number: int
    value: float
    remark: str
    on_front: int | None = None


class BestSoFar:
    """Read again when trials have completed, and while none has.

    Attributes:
        trial: None before a trial has a value.
        results: of the best trial's trainings, on folds or with seeds.
    """

    def __init__(self) -> None:
        self.trial: Best | None = None
        self.results: list[float] = []
        self._read_at = 0  # complete trials

    def is_old(self, complete: int) -> bool:
        """Whether another trial may be the best, after so many complete ones."""
        return not complete or complete != self._read_at

    def read(self, connection: Connection, study_id: int, spec: StudySpec, *, complete: int) -> None:
        """Read it, after so many complete trials."""
        objectives = spec.objectives
        rows = best_trials(connection, study_id, objectives, limit=1)
        self._read_at = complete
        if not rows:
            self.trial = None
            return
        [row], remark = rows, ""
        if spec.trainings > 1:
            self.results = trainings_before(connection, row.trial_id)
        if not complete:  # how far it was trained takes some statements
            remark = read_records(connection, study_id, [row.trial_id], objectives=objectives)[row.trial_id].remark
        on_front = number_on_front(connection, study_id, objectives) if objectives.are_several else None
        self.trial = Best(row.number, row.value, remark, on_front)
