"""The value that a trial is expected to end with, from its curve so far and those of the trials that went further."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 3  # curves that a gain is estimated from


def expected_costs(curves: Floats) -> Floats:
    """Costs (trials,) that trials are expected to have at the end, NaN for those without a curve.

    A trial's cost is that of its best epoch. What the epochs to come will gain is, for each, the median of what the
    better half of the trials that have trained it have gained by it; pruned trials were worse, and lack it.

    Args:
        curves: costs (trials, epochs) after each epoch, the smaller the better; NaN where a trial has not trained it.
    """
    best = np.fmin.accumulate(curves, axis=1)
    last = curves.shape[1] - 1 - np.argmax(~np.isnan(curves[:, ::-1]), axis=1)
    has = ~np.isnan(curves).all(1)
    trained = np.where(has, last, -1)
    to_come = np.zeros(curves.shape[1])
    for epoch in range(curves.shape[1] - 2, -1, -1):
        gain = 0.0
        both = np.flatnonzero(trained > epoch)
        if len(both):
            better = both[np.argsort(best[both, epoch], kind="stable")][: max(FEWEST, len(both) // 2)]
            gain = float(np.median(best[better, epoch] - best[better, epoch + 1]))
        to_come[epoch] = to_come[epoch + 1] + gain
    found = np.full(len(curves), np.nan)
    found[has] = best[has, last[has]] - to_come[last[has]]
    return found
