"""What more trials would probably bring: by how much the best value would improve.

The best of a search improves with the logarithm of its device time, by less where the best trials are close to each
other. By how much was measured on simulated searches of seven recorded grids and surrogates (12 seeds each, four
slots, sampler `auto`, after 6 to 32 complete trainings): a doubling of the time gained 0.18 times the distance from
the best trial to the mean of the next five (0.13 to 0.32 by task), and at most 0.6 times that in four of five cases.
Theory, for comparison: of draws with an exponential tail it would be 0.54; the tails of recorded searches are bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hpo.search.expected import expected_costs
from hpo.search.noise import noise_of
from hpo.study.states import Direction

FEWEST = 16  # trials with a value
NEXT = 5  # trials behind the best one
OF_A_DOUBLING, AT_MOST = 0.18, 0.6


@dataclass(frozen=True)
class Gain:
    """What as much device time again would bring, in units of the objective, 0 or more.

    Attributes:
        value: the mean; high: in four of five cases it is at most that.
        noise: the standard deviation of the best trials' values around their curves; 0 where their curves are short.
    """

    value: float
    high: float
    noise: float

    def in_words(self, metric: str) -> str:
        """`as much time again would improve val_accuracy by about 0.0012 (0 to 0.004)`, and whether that is noise."""
        text = f"as much time again would improve {metric} by about {self.value:.2g} (0 to {self.high:.2g})"
        return f"{text}, less than its noise of {self.noise:.2g}" if self.is_noise else text

    @property
    def is_noise(self) -> bool:
        """Whether it is, in four of five cases, less than the noise of a single trial."""
        return self.high < self.noise

    def reason_to_end(self, metric: str, *, device_hours: float, price: float) -> str | None:
        """Why it does not pay to go on for as long again; None where it does.

        Args:
            device_hours: that were spent.
            price: the least improvement for a device-hour.
        """
        if self.is_noise:
            return self.in_words(metric)
        if device_hours > 0 and self.value / device_hours < price:
            each = self.value / device_hours
            return f"{self.in_words(metric)}, {each:.2g} for a device-hour, less than the price of {price:g}"
        return None


def expected_gain(curves: Iterable[Mapping[int, float]], direction: Direction) -> Gain | None:
    """What as much device time again would bring; None of fewer than 16 trials.

    Args:
        curves: of each trial, the objective by epoch or step. What a trial that was ended early, or still trains, is
            expected to end with is taken for its value; see `expected_costs`.
    """
    known = [{at: direction.cost(value) for at, value in curve.items() if math.isfinite(value)} for curve in curves]
    known = [curve for curve in known if curve]
    if len(known) < FEWEST:
        return None
    columns = {at: column for column, at in enumerate(sorted({at for curve in known for at in curve}))}
    table = np.full((len(known), len(columns)), np.nan)
    for row, curve in enumerate(known):
        table[row, [columns[at] for at in curve]] = list(curve.values())
    costs = expected_costs(table)
    best = np.argsort(costs, kind="stable")[: 1 + NEXT]
    ahead = float(costs[best[1:]].mean() - costs[best[0]])
    noises = [noise_of(list(known[row].values())[-max(5, len(known[row]) // 2) :]) for row in best]
    return Gain(OF_A_DOUBLING * ahead, AT_MOST * ahead, float(np.median(noises)))
