"""What a search has ended in: its best trials with fresh seeds, the winner, how much was luck, and the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

from hpo.study.plan import Plan
from hpo.study.race import Standing, leader
from hpo.study.states import Direction

CONFIDENCE = 0.95
AT_MOST_ONE = {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc", "r2"}
FINAL = "final"  # the kind of a finding that `hpo finalize` writes


@dataclass(frozen=True)
class Interval:
    """A number with its interval of confidence of 95 %; without bounds where these cannot be known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Rerun:
    """A trial of the search that was trained again with fresh seeds.

    Attributes:
        trial: its number in the search.
        searched: its objective there.
        scores: with each seed; None where the trial failed.
        mean: of the scores, by Student's distribution: it is what another seed may be expected to give on the same
            validation part, not what other data would.
        is_out: it got fewer seeds than others, since it could not win any more.
    """

    trial: int
    searched: float
    scores: tuple[float | None, ...]
    mean: Interval | None
    is_out: bool = False

    @property
    def failed(self) -> int:
        return sum(score is None for score in self.scores)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the scores; None of fewer than two."""
        known = [score for score in self.scores if score is not None]
        return stdev(known) if len(known) > 1 else None


@dataclass(frozen=True)
class Kept:
    """The model that is kept.

    Attributes:
        study: whose trial it is.
        trial: its number there.
        trained_on: the parts, `train` or `train+validation`.
        members: the trials of an ensemble, whose outputs are averaged; otherwise the one trial.
    """

    study: str
    trial: int
    trained_on: str
    members: tuple[int, ...]


@dataclass(frozen=True)
class Final:
    """What `hpo finalize` found.

    Attributes:
        study: the search.
        trials: complete trials of the search, the best of which were trained again.
        reruns_study: the study of the re-runs.
        reruns: the candidates, the best of the search first.
        winner: the trial of the search whose re-runs have the best mean.
        luck: by how much the search's best score was better than the mean of that trial's re-runs, in the objective's
            unit: the winner's curse. None when these failed.
        validation, test: what `hpo.training.evaluation` found on a part; None where it was not asked for.
        looks: how often the test part had been looked at before this test.
    """

    study: str
    metric: str
    direction: Direction
    trials: int
    reruns_study: str
    reruns: tuple[Rerun, ...]
    winner: int
    luck: Interval | None
    kept: Kept
    validation: Mapping[str, Any] | None = None
    test: Mapping[str, Any] | None = None
    looks: int = 0
    warnings: tuple[str, ...] = field(default=())

    @property
    def won(self) -> Rerun:
        """The winner's re-runs."""
        return next(rerun for rerun in self.reruns if rerun.trial == self.winner)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> Final:
        reruns = tuple(
            Rerun(**{**found, "scores": tuple(found["scores"]), "mean": _interval(found["mean"])})
            for found in plain["reruns"]
        )
        kept = Kept(**{**plain["kept"], "members": tuple(plain["kept"]["members"])})
        return Final(
            **{
                **plain,
                "direction": Direction(plain["direction"]),
                "reruns": reruns,
                "luck": _interval(plain["luck"]),
                "kept": kept,
                "warnings": tuple(plain["warnings"]),
            }
        )


def reruns_of(plan: Plan, standings: Sequence[Standing], *, metric: str) -> tuple[Rerun, ...]:
    """The candidates of a plan with their scores.

    Args:
        metric: the objective; the interval of one that is at most 1 ends there.
    """
    most = 1.0 if metric.removeprefix("val_") in AT_MOST_ONE else None
    return tuple(
        Rerun(candidate.trial, candidate.value, standing.scores, mean_of(standing.finite, most=most), standing.is_out)
        for candidate, standing in zip(plan.candidates, standings, strict=True)
    )


def winner_of(plan: Plan, standings: Sequence[Standing], direction: Direction) -> int | None:
    """The trial of the search whose re-runs have the best mean; None when all of them failed."""
    place = leader(standings, direction)
    return None if place is None else plan.candidates[place].trial


def luck_of(rerun: Rerun, direction: Direction) -> Interval | None:
    """By how much the search's score was better than the re-runs' mean: positive is luck."""
    mean = rerun.mean
    if mean is None:
        return None
    gain = direction.gain(rerun.searched, mean.value)
    if mean.low is None or mean.high is None:
        return Interval(gain)
    ends = sorted(direction.gain(rerun.searched, end) for end in (mean.low, mean.high))
    return Interval(gain, *ends)


def mean_of(scores: Sequence[float], *, most: float | None = None) -> Interval | None:
    """The mean with its interval by Student's distribution; without an interval of one score; None of none.

    Args:
        most: no score can be larger.
    """
    if not scores:
        return None
    mean = fmean(scores)
    if len(scores) < 2:
        return Interval(mean)
    from scipy.stats import t  # which takes a second to import

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1)) * stdev(scores) / math.sqrt(len(scores))
    return Interval(mean, mean - half, mean + half if most is None else min(most, mean + half))


def _interval(plain: Mapping[str, Any] | None) -> Interval | None:
    return None if plain is None else Interval(**plain)
