"""What a report is made of, read from the store as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, func, select

from hpo.queue.budget import device_seconds, spent_of
from hpo.queue.findings import findings_of
from hpo.queue.progress import find_study
from hpo.report.importances import Importances, importances_of
from hpo.results.expected import undecided_in_words
from hpo.results.final import Final
from hpo.results.status import StudyStatus
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_workers, trials
from hpo.study.objectives import Objectives
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import Direction, TrialState

REPLAY = "replay"  # the kind of a finding that `hpo replay` writes
BEST = 10  # trials that are listed


@dataclass(frozen=True)
class Spending:
    """Attempts that have ended alike, on one kind of device of one machine.

    Attributes:
        state: Optuna's, of their trials.
        kind: how they ended; None while they run.
        seconds: of all their devices.
    """

    state: str
    kind: str | None
    host: str
    device: str
    attempts: int
    seconds: float


@dataclass(frozen=True)
class Material:
    """A study, as a report shows it.

    Attributes:
        made: when it was read, UTC.
        records: all trials by number, with their curves.
        best: the best of them, the best first; of several objectives the Pareto-optimal ones.
        resolved: its study file; None of a study of another program.
        final: what `hpo finalize` found; None before it.
        replay: what `hpo replay` found; None before it.
        spending: of all attempts of the search.
        rerun_seconds: of all devices, for the trials of `hpo finalize`.
        undecided: which trials cannot be told apart, in words; None where one is the best for sure.
        gain: what as much time again would bring, in words.
    """

    name: str
    made: datetime
    metric: str
    objectives: Objectives
    status: StudyStatus
    records: tuple[TrialRecord, ...]
    best: tuple[TrialRecord, ...]
    resolved: ResolvedStudy | None
    final: Final | None
    replay: Mapping[str, Any] | None
    importances: Importances
    spending: tuple[Spending, ...]
    rerun_seconds: float
    undecided: str | None = None
    gain: str | None = None

    @property
    def direction(self) -> Direction:
        """Of the first objective, which plots show."""
        return self.objectives.first

    @cached_property
    def complete(self) -> tuple[TrialRecord, ...]:
        """The complete trials that have a value, by number."""
        return tuple(one for one in self.records if one.state == TrialState.COMPLETE and one.value is not None)

    @cached_property
    def pruned(self) -> tuple[TrialRecord, ...]:
        """The pruned trials that have a value, by number."""
        return tuple(one for one in self.records if one.state == TrialState.PRUNED and one.value is not None)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The searched parameters, in the order of the search space, or of the trials."""
        names = dict.fromkeys(self.resolved.space if self.resolved is not None else ())
        return tuple(names | dict.fromkeys(name for record in self.records for name in record.params))

    @property
    def devices_per_trial(self) -> int:
        """As the study file says."""
        return 1 if self.resolved is None else self.resolved.spec.resources.devices_per_trial

    @property
    def evaluation(self) -> Mapping[str, Any] | None:
        """What the final model gave on the test part, or else on the validation part; None before `hpo finalize`."""
        return None if self.final is None else self.final.test or self.final.validation

    def curve(self, record: TrialRecord) -> list[tuple[int, float]]:
        """The objective by epoch, where it was logged."""
        key = self.metric if self.resolved is not None else "value"
        found = ((epoch, metrics.get(key)) for epoch, metrics in record.curve)
        return [(epoch, value) for epoch, value in found if value is not None]


def read_material(store: Store, name: str) -> Material:
    """Read it.

    Raises:
        StoreError: there is no such study.
    """
    study, study_id = Study(store, name), find_study(store, name)[0]
    final = study.final()
    with store.read() as connection:
        resolved = _resolved(connection, study_id)
        replays = findings_of(connection, study_id, REPLAY)
        spending = _spending(connection, study_id)
        reruns = _rerun_seconds(connection, study_id, final)
    metric = study.objectives.metrics[0] if study.objectives.metrics else "value"
    return Material(
        name=name,
        made=datetime.now(UTC),
        metric=metric,
        objectives=study.objectives,
        status=study.status(),
        records=tuple(study.trials()),
        best=tuple(study.best(None if study.objectives.are_several else BEST)),
        resolved=resolved,
        final=final,
        replay=replays[-1].content if replays else None,
        importances=importances_of(store, name),
        spending=spending,
        rerun_seconds=reruns,
        undecided=undecided_in_words(study.expected(), metric),
        gain=None if (gain := study.gain()) is None else gain.in_words(metric),
    )


def _resolved(connection: Connection, study_id: int) -> ResolvedStudy | None:
    row = connection.execute(
        select(hpo_studies.c.spec, hpo_studies.c.space).where(hpo_studies.c.study_id == study_id)
    ).first()
    return None if row is None else ResolvedStudy.from_json(row.spec, row.space)


def _spending(connection: Connection, study_id: int) -> tuple[Spending, ...]:
    columns = (trials.c.state, hpo_attempts.c.kind, hpo_workers.c.host, hpo_attempts.c.device)
    rows = connection.execute(
        select(*columns, func.count().label("attempts"), func.sum(device_seconds()).label("seconds"))
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .where(trials.c.study_id == study_id)
        .group_by(*columns)
        .order_by(hpo_workers.c.host, hpo_attempts.c.device)
    )
    return tuple(
        Spending(row.state, row.kind, row.host, row.device or "unknown", row.attempts, row.seconds or 0.0)
        for row in rows
    )


def _rerun_seconds(connection: Connection, study_id: int, final: Final | None) -> float:
    """Of the studies that train this one's trials again."""
    if final is None:
        return 0.0
    rows = connection.execute(select(hpo_studies.c.study_id).where(hpo_studies.c.parent_id == study_id))
    return sum(3600 * spent_of(connection, its, Objectives((final.direction,))).gpu_hours for (its,) in rows)
