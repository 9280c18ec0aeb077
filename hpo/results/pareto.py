"""The Pareto-optimal trials of a study of several objectives, which Optuna's own programs may have made."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.results.trial import TrialRecord
from hpo.study.states import Direction, TrialState


def pareto_front(records: Sequence[TrialRecord], directions: Sequence[Direction]) -> list[TrialRecord]:
    """The complete trials that no other one beats in an objective without losing in another; by the first objective."""
    complete = [
        (tuple(direction.cost(value) for direction, value in zip(directions, record.values, strict=True)), record)
        for record in records
        if record.state == TrialState.COMPLETE and len(record.values) == len(directions)
    ]
    front = [(costs, record) for costs, record in complete if not any(_beats(other, costs) for other, _ in complete)]
    return [record for _, record in sorted(front, key=lambda pair: (pair[0], pair[1].number))]


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
