"""The tables of `search_quality.py`: medians over the seeds, with bootstrap intervals of 95 %."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from replays.grid import Grid
from replays.runs import Run
from replays.searchers import BASIS

MARKS = (5, 10, 20)  # trainings after which the regret is told
RESAMPLES = 1000

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A statistic of all seeds, and the interval of it over bootstrap samples of the seeds."""

    value: float
    low: float
    high: float

    def text(self, digits: int, *, sign: str = "", most: float = np.inf) -> str:
        """Numbers above `most` were not reached."""
        one, low, high = (f"{number:{sign}.{digits}f}" if number <= most else f"> {most:.0f}" for number in self)
        return f"{one} ({low} to {high})"


def bootstrapped(seeds: Sequence[Any] | Floats, statistic: Callable[[Floats], Floats]) -> Interval:
    """The statistic of the seeds and its interval; Efron 1979, The Annals of Statistics 7.

    Args:
        seeds: a value or a row a seed.
        statistic: of samples (samples, seeds, ...), a number a sample.
    """
    values = np.asarray(seeds, float)
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    # by 'lower' and 'higher', since 'never' is infinite, and nothing is between it and a number
    found = statistic(values[chosen])
    low, high = np.quantile(found, 0.025, method="lower"), np.quantile(found, 0.975, method="higher")
    return Interval(float(statistic(values[None])[0]), float(low), float(high))


def median(samples: Floats) -> Floats:
    middle: Floats = np.median(samples, axis=1)
    return middle


def mean(samples: Floats) -> Floats:
    middle: Floats = np.mean(samples, axis=1)
    return middle


def until(runs: Sequence[Run], regret: float) -> Interval:
    """The trainings until the median regret over the seeds is so small, or infinity."""
    times = np.array(sorted({choice.at for run in runs for choice in run.choices}))
    regrets = np.array([[run.at(time).regret for time in times] for run in runs])

    def first(samples: Floats) -> Floats:
        reached = np.median(samples, axis=1) <= regret
        return np.where(reached.any(1), times[reached.argmax(1)], np.inf)

    return bootstrapped(regrets, first)


def quality_table(grid: Grid, slots: int, runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """A row for each searcher.

    Args:
        runs: by searcher, a run of each seed, of the same seeds for all.
    """
    target = grid.random_regret(200)
    yield (
        f"{grid.name}, {len(grid)} configurations, {slots} slot{'s' * (slots > 1)}; "
        f"random search's regret after 200 trainings is {100 * target:.2f} points:\n"
    )
    marks = " | ".join(f"regret after {mark}" for mark in MARKS)
    yield f"| | seeds | {marks} | trainings until random's 200 | test accuracy | against {BASIS} |"
    yield "|---|---|" + "---|" * (len(MARKS) + 3)
    for searcher, made in runs.items():
        budget = min(run.plan.trainings for run in made)
        regrets = [
            bootstrapped([100 * run.at(mark).regret for run in made], median).text(2) if mark <= budget else ""
            for mark in MARKS
        ]
        tested = [100 * run.at(budget).tested for run in made]
        cells = [
            str(len(made)),
            *regrets,
            until(made, target).text(1, most=budget),
            bootstrapped(tested, median).text(2),
            "" if searcher == BASIS or BASIS not in runs else difference(made, runs[BASIS]).text(2, sign="+"),
        ]
        yield f"| `{searcher}` | " + " | ".join(cells) + " |"
    yield ""


def difference(made: Sequence[Run], others: Sequence[Run]) -> Interval:
    """The mean difference of the test accuracy in points, seed by seed."""
    other = {run.plan.seed: run for run in others}
    return bootstrapped(
        [
            100 * (run.at(run.plan.trainings).tested - other[run.plan.seed].at(run.plan.trainings).tested)
            for run in made
            if run.plan.seed in other
        ],
        mean,
    )
