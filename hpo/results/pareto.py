"""The Pareto-optimal trials of a study of several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpo.printable import counted
from hpo.results.trial import TrialRecord
from hpo.results.trials import table_of_trials
from hpo.study.objectives import Objectives, front_of
from hpo.study.states import TrialState


def pareto_front(records: Sequence[TrialRecord], objectives: Objectives) -> list[TrialRecord]:
    """The complete trials that no other one beats in an objective without losing in another; by the first objective.

    While none is complete, those of the others that have values. One that violates a constraint is never among them.
    """
    number = len(objectives.directions)
    known = [
        record
        for record in records
        if len(record.values) == number and record.before_change is None and record.feasible
    ]
    complete = [record for record in known if record.state == TrialState.COMPLETE]
    found = {record.number: record for record in complete or known}
    return [found[key] for key in front_of({key: objectives.costs(record.values) for key, record in found.items()})]


@dataclass(frozen=True)
class Front:
    """The front of a study, and the trials behind it.

    Attributes:
        trials: those that no other one beats in an objective without losing in another, by the first objective.
        others: the other complete ones, by number.
        hypervolume: of the front, in the product of the objectives' units; None where the study file gives no reference
            (`budget: {target: {hypervolume: ..., reference: ...}}`).
    """

    study: str
    objectives: Objectives
    trials: Sequence[TrialRecord]
    others: Sequence[TrialRecord]
    hypervolume: float | None

    @staticmethod
    def of(study: str, objectives: Objectives, records: Sequence[TrialRecord]) -> Front:
        """Of the trials of a study."""
        front = pareto_front(records, objectives)
        number, on_front = len(objectives.directions), {record.number for record in front}
        others = [
            record
            for record in records
            if record.state == TrialState.COMPLETE and len(record.values) == number and record.number not in on_front
        ]
        return Front(study, objectives, front, others, objectives.hypervolume([record.values for record in front]))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the objectives; a study of another program may have given them none."""
        return self.objectives.metrics or tuple(
            f"objective {place + 1}" for place in range(len(self.objectives.directions))
        )

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: the trials on the front."""
        from hpo.notebook import block, line

        behind = f"{counted(len(self.trials), 'trial')} on the front, {len(self.others):,} behind it"
        volume = "" if self.hypervolume is None else f"; hypervolume {self.hypervolume:.4g}"
        title = line(f"{self.study}: {behind}{volume}", is_title=True)
        return block(title, table_of_trials(self.trials, self.names))

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "study": self.study,
            "objectives": [
                {"metric": name, "direction": direction.value}
                for name, direction in zip(self.names, self.objectives.directions, strict=True)
            ],
            "front": [record.to_json() for record in self.trials],
            "others": [record.to_json() for record in self.others],
            "hypervolume": self.hypervolume,
        }
