"""Windows of a series as differences from earlier steps, and the known values that forecasts are differences from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.data.gaps import Fill

if TYPE_CHECKING:  # what an exported model's predict.py is made of needs NumPy alone
    from models.data.splits import Ints
    from models.data.timed_file import Floats


def differences(fill: Fill, steps: Ints, ends: Ints, *, lag: int) -> Floats:
    """Inputs (windows, steps, columns) before scaling, from values up to each end; the values for a lag of 0."""
    now = fill.at(steps, ends)
    return now - fill.at(steps - lag, ends) if lag else now


def references(fill: Fill, ends: Ints, *, lag: int, horizon: int, targets: int) -> Floats:
    """What is subtracted from the levels of the targets (windows, horizon * targets): known values, for any horizon."""
    if lag == 0:
        return np.zeros((len(ends), horizon * targets))
    ahead = np.arange(1, horizon + 1)
    seasons_back = -(-ahead // lag) * lag
    known = fill.at(ends[:, None] + ahead - seasons_back, ends)
    return known[:, :, :targets].reshape(len(ends), -1)
