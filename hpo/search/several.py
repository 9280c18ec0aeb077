"""Trials of several objectives in memory: their values by epoch, and as samplers are to see them.

Optuna's trials have one intermediate value an epoch, which is the leading objective; the others are kept in memory
beside it. Optuna's samplers for several objectives learn from complete trials only: what was pruned, waits at a rung or
still runs is shown to them as complete, with the values that it is expected to end with.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.expected import expected_points

FURTHER = "hpo:further"  # system attribute, in memory only: by epoch, the objectives besides the leading one

Floats = NDArray[np.float64]


def points_of(trial: FrozenTrial, objectives: int) -> dict[int, tuple[float, ...]]:
    """By epoch, the values of all objectives, where all are known.

    Args:
        objectives: their number.
    """
    if objectives == 1:
        return {epoch: (value,) for epoch, value in trial.intermediate_values.items()}
    further: Mapping[int, Sequence[float]] = trial.system_attrs.get(FURTHER, {})
    curve = trial.intermediate_values
    return {epoch: (value, *further[epoch]) for epoch, value in curve.items() if len(further.get(epoch, ()))}


def signs_of(directions: Sequence[StudyDirection]) -> Floats:
    """Factors (objectives,) that make costs of values."""
    return np.array([-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions])


def is_infeasible(trial: FrozenTrial) -> bool:
    """Whether it violates a constraint."""
    return any(violation > 0 for violation in trial.constraints.values())


def as_complete(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The trials, where all that have a curve are complete, with the values that they are expected to end with.

    A pruned one without a curve has diverged: it has the worst values of all. Those that run and have none stay so.
    """
    signs = signs_of(directions)
    points = [points_of(trial, len(signs)) for trial in trials]
    epochs = sorted({epoch for its in points for epoch in its})
    column = {epoch: place for place, epoch in enumerate(epochs)}
    curves = np.full((len(signs), len(trials), max(1, len(epochs))), np.nan)
    for row, its in enumerate(points):
        for epoch, values in its.items():
            curves[:, row, column[epoch]] = signs * values
    costs = expected_points(curves)
    for row, trial in enumerate(trials):
        if trial.state == TrialState.COMPLETE:
            costs[row] = np.nan if is_infeasible(trial) else signs * trial.values
    known = costs[~np.isnan(costs).any(axis=1)]
    worst = known.max(axis=0) if len(known) else np.zeros(len(signs))
    found = []
    for row, trial in enumerate(trials):
        has_values = not np.isnan(costs[row]).any()
        if trial.state != TrialState.COMPLETE and (has_values or trial.state == TrialState.PRUNED):
            trial = copy.copy(trial)
            trial.state = TrialState.COMPLETE
            trial.values = [float(value) for value in signs * (costs[row] if has_values else worst)]
        found.append(trial)
    return found
