"""The race of candidates that are trained with several seeds: one that cannot win any more gets no further seeds.

Rounds are looked at in order, and each only when all that are still in the race have ended it. So the result is the
same in whatever order trials end, and also after a crash: a trial that had begun before its candidate was out is not
looked at.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from hpo.study.states import Direction

# With fewer, the variance within a candidate is hardly known.
FEWEST_SEEDS = 3
# That a candidate is dropped which is as good as the leader happens this often, a comparison.
ERROR_RATE = 0.01


@dataclass(frozen=True)
class Standing:
    """A candidate in the race.

    Attributes:
        scores: of its rounds, None for a trial that failed.
        is_out: it gets no further seeds.
    """

    scores: tuple[float | None, ...]
    is_out: bool = False

    @property
    def finite(self) -> list[float]:
        return [score for score in self.scores if score is not None]

    @property
    def mean(self) -> float | None:
        return fmean(self.finite) if self.finite else None


def race(scores: Sequence[Sequence[float | None]], direction: Direction) -> list[Standing]:
    """How the candidates stand.

    A candidate is out when, after three rounds or more, its mean is worse than the leader's by a one-sided Welch test
    at 1 %; Welch 1947, Biometrika 34.

    Args:
        scores: of each candidate, by seed, as far as its trials have ended; None where one failed.
    """
    ended_with: dict[int, int] = {}  # candidates that are out, and the rounds that they had
    rounds = max(map(len, scores), default=0)
    for done in range(1, rounds + 1):
        racing = [number for number in range(len(scores)) if number not in ended_with]
        if any(len(scores[number]) < done for number in racing):
            break
        if done < FEWEST_SEEDS:
            continue
        standing = {number: Standing(tuple(scores[number][:done])) for number in racing}
        first = leader([standing.get(number) for number in range(len(scores))], direction)
        if first is None:
            continue
        for number in racing:
            if number != first and _is_beaten(standing[number].finite, standing[first].finite, direction):
                ended_with[number] = done
    return [
        Standing(tuple(its[: ended_with.get(number, len(its))]), number in ended_with)
        for number, its in enumerate(scores)
    ]


def leader(standings: Sequence[Standing | None], direction: Direction) -> int | None:
    """The place of the candidate with the best mean, of equal ones the first; None when none has a score."""
    means = {number: found.mean for number, found in enumerate(standings) if found is not None and not found.is_out}
    known = {number: mean for number, mean in means.items() if mean is not None}
    return min(known, key=lambda number: (direction.cost(known[number]), number), default=None)


def _is_beaten(scores: Sequence[float], best: Sequence[float], direction: Direction) -> bool:
    """Whether a candidate cannot be expected to catch up."""
    if len(scores) < FEWEST_SEEDS or len(best) < FEWEST_SEEDS:
        return False
    costs, least = [direction.cost(score) for score in scores], [direction.cost(score) for score in best]
    if not any(_spread(values) for values in (costs, least)):
        return fmean(costs) > fmean(least)
    from scipy.stats import ttest_ind  # which takes a second to import, and few workers need it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of scores of which some are nearly identical: that is fine
        return bool(ttest_ind(costs, least, equal_var=False, alternative="greater").pvalue < ERROR_RATE)


def _spread(values: Sequence[float]) -> bool:
    return not math.isclose(min(values), max(values), rel_tol=1e-12, abs_tol=0.0)
