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
STANDARD_ERRORS = 1.96  # on each side, in an interval of 95 %
AT_MOST_ONE = {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc", "r2"}
FINAL = "final"  # the kind of a finding that `hpo finalize` writes


@dataclass(frozen=True)
class Interval:
    """A number with its interval of confidence of 95 %; without bounds where these cannot be known."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """`0.972 (0.958 to 0.986)`."""
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


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
class Member:
    """A trial whose model is in an ensemble.

    Attributes:
        study: whose trial it is: the search, or the study of its re-runs.
        weight: in the average of the outputs.
    """

    study: str
    trial: int
    weight: int = 1


@dataclass(frozen=True)
class Kept:
    """The model that is kept.

    Attributes:
        study: whose trial it is; of an ensemble, its first one.
        trial: its number there.
        trained_on: the parts, `train` or `train+validation`.
        members: of an ensemble, whose outputs are averaged; otherwise the one trial.
    """

    study: str
    trial: int
    trained_on: str
    members: tuple[Member, ...]

    @staticmethod
    def of(members: Sequence[Member], trained_on: str) -> Kept:
        return Kept(members[0].study, members[0].trial, trained_on, tuple(members))

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> Kept:
        """Earlier releases kept members by their numbers alone, of one study."""
        members = [Member(plain["study"], one) if isinstance(one, int) else Member(**one) for one in plain["members"]]
        return Kept(plain["study"], plain["trial"], plain["trained_on"], tuple(members))


@dataclass(frozen=True)
class Choice:
    """An ensemble of kept models that was chosen on the validation part, and whether it pays.

    Attributes:
        members: the one with the largest weight first.
        candidates: how many models there were to choose from.
        metric: that was compared.
        value, best: of the ensemble, and of the best single model, on the whole validation part, which chose them.
        gain: of the ensemble over the best single model, on samples that chose neither, in cross-validation; positive
            is better, with its interval of confidence of 95 %.
        cost: how many times as long as the best single model it takes to predict.
        notes: on models that could not be compared.
        resampled: the weights on average over bootstrap samples of the part, by which configurations are trained again.
    """

    members: tuple[Member, ...]
    candidates: int
    metric: str
    value: float
    best: float
    gain: Interval
    cost: float
    notes: tuple[str, ...] = ()
    resampled: tuple[Member, ...] = ()

    @property
    def pays(self) -> bool:
        """It is better by more than the standard error of its gain."""
        if len(self.members) < 2 or self.gain.low is None or self.gain.high is None:
            return False
        return self.gain.value > (self.gain.high - self.gain.low) / (2 * STANDARD_ERRORS)

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> Choice:
        members = tuple(Member(**member) for member in plain["members"])
        gain = Interval(**plain["gain"])
        resampled = tuple(Member(**member) for member in plain.get("resampled", ()))
        return Choice(
            **{**plain, "members": members, "resampled": resampled, "gain": gain, "notes": tuple(plain["notes"])}
        )


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
        ensemble: the one that was asked for, also where it was not kept since it does not pay.
        is_named: a person has named the trial that was trained again, which need not be the best.
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
    ensemble: Choice | None = None
    is_named: bool = False

    @property
    def won(self) -> Rerun:
        """The winner's re-runs."""
        return next(rerun for rerun in self.reruns if rerun.trial == self.winner)

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: the test, the luck, and the re-runs."""
        from hpo.notebook import block, facts, line, table

        judged = self.test or self.validation or {}
        score = [
            (f"{its['name']}, {judged['part']} part", Interval(its["value"], its.get("low"), its.get("high")))
            for its in (judged.get("objective"),)
            if its
        ]
        rows = [
            (one.trial, one.searched, one.mean and str(one.mean), len(one.scores), one.failed or None)
            for one in self.reruns
        ]
        return block(
            line(f"{self.study}: trial {self.winner} of {self.trials:,} is the best with fresh seeds", is_title=True),
            facts(
                [
                    *score,
                    ("luck of the search", self.luck),
                    ("the model", f"trial {self.kept.trial} of {self.kept.study}, trained on {self.kept.trained_on}"),
                    *(("warning", warning) for warning in self.warnings),
                ]
            ),
            table(("trial", "in the search", "mean of re-runs", "seeds", "failures"), rows),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> Final:
        reruns = tuple(
            Rerun(**{**found, "scores": tuple(found["scores"]), "mean": _interval(found["mean"])})
            for found in plain["reruns"]
        )
        chosen = plain.get("ensemble")
        return Final(
            **{
                **plain,
                "direction": Direction(plain["direction"]),
                "reruns": reruns,
                "luck": _interval(plain["luck"]),
                "kept": Kept.from_json(plain["kept"]),
                "ensemble": None if chosen is None else Choice.from_json(chosen),
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
