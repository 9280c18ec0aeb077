"""How much a trial's values scatter around what changes smoothly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST_FOR_NOISE = 5
# The median absolute deviation of normal noise is 0.6745 standard deviations; second differences of independent values,
# v[t] - (v[t - 1] + v[t + 1]) / 2, have 1.5 times their variance.
NOISE_OF_MEDIAN = 1 / 0.6745 / 1.5**0.5


def noise_of(curve: Sequence[float]) -> float:
    """The standard deviation of a curve's values around what changes smoothly; 0 of too few.

    From second differences: Gasser, Sroka and Jennen-Steinmetz 1986, Biometrika 73, here by their median.
    """
    if len(curve) < FEWEST_FOR_NOISE:
        return 0.0
    values = np.asarray(curve, np.float64)
    second = values[1:-1] - (values[:-2] + values[2:]) / 2
    return float(NOISE_OF_MEDIAN * np.median(np.abs(second)))
