"""The curves of some trials of a study: those that are named, or the best ones and those that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpo.errors import HpoError, SpecError, StoreError, nearest
from hpo.results.query import Query
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import finite
from hpo.store import Store
from hpo.study.states import TrialState

BEST = 5
OF_OPTUNA = "value"  # what the curve of another program's trial is called

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Curves:
    """Curves of one metric.

    Attributes:
        objectives: of the study, the leading one first.
        unit: `epoch` or `step`.
        curves: each trial with its (epoch, value), where the value is finite.
    """

    study: str
    metric: str
    objectives: Sequence[str]
    unit: str
    curves: Sequence[tuple[TrialRecord, Points]]

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "study": self.study,
            "metric": self.metric,
            "unit": self.unit,
            "trials": [
                {"number": record.number, "state": record.state, "value": record.value, "curve": points}
                for record, points in self.curves
            ],
        }


def read_curves_of(store: Store, name: str, numbers: Sequence[int], *, metric: str | None = None) -> Curves:
    """The curves of these trials; of none, those of the BEST best ones and of all that run.

    Raises:
        StoreError: there is no such study or trial.
        SpecError: none of the trials has logged the metric; names those that they have.
        HpoError: nothing has been logged yet.
    """
    study = Study(store, name)
    records = _named(study, numbers) if numbers else _best_and_running(study)
    known = list(dict.fromkeys(key for record in records for _, metrics in record.curve for key in metrics))
    if not known:
        what = f"trial {', '.join(map(str, numbers))}" if numbers else "no trial"
        raise HpoError(f"{what} of study '{name}' has a curve yet: 'hpo trials {name}' lists them")
    chosen = metric or next(iter(study.objectives.metrics), OF_OPTUNA)
    if chosen not in known and metric is None and OF_OPTUNA in known:
        chosen = OF_OPTUNA
    if chosen not in known:
        raise SpecError(
            f"study '{name}' has no metric '{chosen}'{nearest(chosen, known) or '.'} It has {', '.join(known)}"
        )
    return Curves(
        name,
        chosen,
        study.objectives.metrics,
        records[0].unit.value,
        [(record, _points(record, chosen)) for record in records],
    )


def _points(record: TrialRecord, metric: str) -> Points:
    found = ((epoch, finite(metrics.get(metric))) for epoch, metrics in record.curve)
    return tuple((epoch, float(value)) for epoch, value in found if value is not None)


def _named(study: Study, numbers: Sequence[int]) -> list[TrialRecord]:
    found = []
    for number in dict.fromkeys(numbers):
        record = study.trial(number)
        if record is None:
            raise StoreError(
                f"study '{study.name}' has no trial {number}; 'hpo trials {study.name}' lists those it has"
            )
        found.append(record)
    return found


def _best_and_running(study: Study) -> list[TrialRecord]:
    best = study.best_of(Query(), BEST)
    shown = {record.number for record in best}
    running = study.trials(where=f"state == '{TrialState.RUNNING}'")
    return best + [record for record in running if record.number not in shown]
