"""The value that a trial is expected to end with, from its curve so far and those of the trials that went further."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 3  # curves that a gain is estimated from


def expected_points(curves: Floats) -> Floats:
    """Costs (trials, objectives) that trials are expected to have at the end, NaN for those without a curve.

    Args:
        curves: costs (objectives, trials, epochs), the leading objective first; see `expected_costs`.
    """
    further = [expected_costs(_at_best(curves[0], other), accumulates=False) for other in curves[1:]]
    return np.stack([expected_costs(curves[0]), *further], axis=1)


def _at_best(leading: Floats, other: Floats) -> Floats:
    """After each epoch, the other cost at the best epoch so far by the leading one; NaN after the last epoch."""
    epochs = np.arange(leading.shape[1])
    before = np.fmin.accumulate(leading, axis=1)
    before = np.concatenate([np.full((len(leading), 1), np.nan), before[:, :-1]], axis=1)
    is_best = ~np.isnan(leading) & ~(leading >= before)
    place = np.maximum.accumulate(np.where(is_best, epochs, -1), axis=1)
    found = np.take_along_axis(other, np.maximum(place, 0), axis=1)
    last = np.where(~np.isnan(leading), epochs, -1).max(axis=1, keepdims=True)
    return np.where((place >= 0) & (epochs <= last), found, np.nan)


def expected_costs(curves: Floats, *, accumulates: bool = True) -> Floats:
    """Costs (trials,) that trials are expected to have at the end, NaN for those without a curve.

    A trial's cost is that of its best epoch. What the epochs to come will gain is, for each, the median of what the
    better half of the trials that have trained it have gained by it; pruned trials were worse, and lack it.

    Args:
        curves: costs (trials, epochs) after each epoch, the smaller the better; NaN where a trial has not trained it,
            or was not judged.
        accumulates: the cost of a trial is the least so far; otherwise the last one.
    """
    best = np.fmin.accumulate(curves, axis=1) if accumulates else curves
    last = curves.shape[1] - 1 - np.argmax(~np.isnan(curves[:, ::-1]), axis=1)
    has = ~np.isnan(curves).all(1)
    trained = np.where(has, last, -1)
    to_come = np.zeros(curves.shape[1])
    for epoch in range(curves.shape[1] - 2, -1, -1):
        gain = 0.0
        both = np.flatnonzero(trained > epoch)
        if len(both):
            better = both[np.argsort(best[both, epoch], kind="stable")][: max(FEWEST, len(both) // 2)]
            gains = best[better, epoch] - best[better, epoch + 1]
            known = gains[~np.isnan(gains)]
            gain = float(np.median(known)) if len(known) else 0.0
        to_come[epoch] = to_come[epoch + 1] + gain
    found = np.full(len(curves), np.nan)
    found[has] = best[has, last[has]] - to_come[last[has]]
    return found
