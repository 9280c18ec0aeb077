"""What the page of a study shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from hpo.queue.budget import SECONDS_OF_HOUR, Spent, spent_of
from hpo.queue.findings import findings_of
from hpo.queue.progress import find_study
from hpo.report.contents import Plot
from hpo.report.words import shown, span
from hpo.results.failures import FailedAlike, failures_by_cause
from hpo.results.final import FINAL
from hpo.results.live import LiveStudy, LiveWorker
from hpo.results.query import Query
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import read_records
from hpo.service.live import LiveReader
from hpo.store import Store
from hpo.store.tables import hpo_studies, trials
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import OPTUNA_ENDED, StudyState
from hpo.web.ops.drawing import curves_of_study, metric_of
from hpo.web.ops.pages import MissingError
from hpo.web.ops.running import RunningTrial, moment_of

BEST, RECENT = 5, 10
MOST_CURVES = 32  # of running trials
NAMES = {"hours": "Time", "gpu_hours": "Time of devices", "target": "Target", "patience": "Trials since the best"}


@dataclass(frozen=True)
class Limit:
    """A limit of a study's budget, or what it has spent without one.

    Attributes:
        of: the limit in words; empty where there is none.
        share: of it that is spent, up to 1; None where that is no share.
    """

    name: str
    spent: str
    of: str = ""
    share: float | None = None


@dataclass(frozen=True)
class StudyView:
    """A study.

    Attributes:
        about: its model and its data; empty for a study of another program.
        is_ours: whether it can be steered.
        has_final: whether `hpo finalize` has chosen a model, which its report has a card of.
        metric: the name of the leading objective.
    """

    study_id: int
    name: str
    about: str
    is_ours: bool
    has_final: bool
    metric: str
    study: LiveStudy
    workers: Sequence[LiveWorker]
    budget: Sequence[Limit]
    curves: Plot | None
    bests: Sequence[TrialRecord]
    running: Sequence[RunningTrial]
    failures: Sequence[FailedAlike]
    recent: Sequence[TrialRecord]
    moment: datetime

    @property
    def counts(self) -> str:
        """`12 complete, 3 pruned, 2 running`."""
        return ", ".join(f"{number:,} {state}" for state, number in self.study.counts.items() if number)

    @property
    def slots(self) -> int:
        """Of the workers that are alive."""
        return sum(worker.slots for worker in self.workers if not worker.is_lost)

    @property
    def time_left(self) -> str:
        """`3 to 5 min left`; empty where no end is in sight."""
        if self.study.seconds_left is None:
            return ""
        least, most = map(span, self.study.seconds_left)
        return f"{least} left" if least == most else f"{least} to {most} left"


def read_study(store: Store, reader: LiveReader, name: str) -> StudyView:
    """Read it, by a number of statements that does not depend on the number of trials.

    Raises:
        StoreError: there is no such study.
    """
    view, (study_id, objectives) = reader.look(), find_study(store, name)
    study = view.study(name)
    if study is None:
        raise MissingError(f"there is no study '{name}'")
    bests = Study(store, name).best_of(Query(), BEST)
    with store.read() as connection:
        row = connection.execute(
            select(hpo_studies.c.spec, hpo_studies.c.space).where(hpo_studies.c.study_id == study_id)
        ).first()
        resolved = None if row is None else ResolvedStudy.from_json(row.spec, row.space)
        spent = spent_of(connection, study_id, objectives)
        failures = failures_by_cause(connection, study_id)
        final = findings_of(connection, study_id, FINAL)
        recent = read_records(
            connection, study_id, _last_ended(connection, study_id), objectives=objectives, has_curves=False
        )
    return StudyView(
        study_id=study_id,
        name=name,
        about="" if resolved is None else f"{resolved.spec.model_in_words} on {resolved.spec.data.label}",
        is_ours=resolved is not None,
        has_final=bool(final),
        metric=metric_of(objectives),
        study=study,
        workers=view.workers,
        budget=_limits(study, spent),
        curves=curves_of_study(bests, view.trials[:MOST_CURVES], objectives),
        bests=bests,
        running=[RunningTrial(one) for one in view.trials],
        failures=failures,
        recent=sorted(recent.values(), key=lambda one: (str(one.ended), one.number), reverse=True),
        moment=moment_of(view),
    )


def _last_ended(connection: Connection, study_id: int) -> list[int]:
    last = (
        select(trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state.in_(OPTUNA_ENDED))
        .order_by(trials.c.datetime_complete.desc(), trials.c.number.desc())
        .limit(RECENT)
    )
    return list(connection.scalars(last))


def _limits(study: LiveStudy, spent: Spent) -> list[Limit]:
    """Time and device-hours, which are always told, and the other limits that it has."""
    is_over = study.state not in (StudyState.RUNNING, StudyState.PAUSED)
    hours = max(0.0, spent.hours_at_end) if is_over else spent.hours
    amounts = {"hours": hours, "gpu_hours": spent.gpu_hours, **study.spent}
    return [
        _limit(name, amounts.get(name), study.limits.get(name)) for name in NAMES if name in {**amounts, **study.limits}
    ]


def _limit(name: str, spent: float | None, limit: float | None) -> Limit:
    in_words = _of_hours if name.endswith("hours") else shown
    is_share = name != "target"  # a value of the objective is no share of another one
    return Limit(
        name=NAMES[name],
        spent=in_words(spent),
        of="" if limit is None else in_words(limit),
        share=min(max(spent, 0.0) / limit, 1.0) if is_share and limit and spent is not None else None,
    )


def _of_hours(hours: float | None) -> str:
    return span(None if hours is None else SECONDS_OF_HOUR * hours)
