"""The choice under noise: what complete trials are expected to reach, beside the values that they happened to reach.

A trial's value is that of its best epoch, and the best trial's is the largest of many: both are biased by luck.
The level of a curve around its best epoch is not, and those of all trials say how far to draw each to their mean.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr
from sqlalchemy import Connection, select

from hpo.printable import with_margin
from hpo.queue.best import ranked_trials
from hpo.queue.report import TRAININGS
from hpo.search.gain import Gain, expected_gain
from hpo.search.noise import FEWEST_FOR_NOISE, noise_of
from hpo.store.tables import trial_intermediate_values, trial_system_attributes, trials
from hpo.study.states import Direction, OptunaState

Floats = NDArray[np.float64]

MOST = 1000  # trials, the best ones by their values
SURE = 0.95
DEVIATIONS = 1.96  # of a normal distribution, within which it is with that probability
NEAREST = (5, 15)  # at least and at most so many epochs around the best one make its level, a quarter of all between
FEWEST = 4  # trials that are drawn to their mean
FENCE = 1.5  # interquartile ranges (Tukey 1977): trials that are worse by more say nothing of the others
MOST_NAMED = 8
CANDIDATES, STEPS = 50, 400  # trials that may be the best, and steps of the integral


@dataclass(frozen=True)
class Expectation:
    """What a trial would reach on average, if its configuration were trained and judged again.

    Attributes:
        value: the mean; low, high: an interval that has it with a probability of 95 %.
        deviation: its standard deviation.
        best: the probability that it is the best of the study's complete trials.
    """

    value: float
    low: float
    high: float
    deviation: float
    best: float


def expectations(connection: Connection, study_id: int, direction: Direction) -> dict[int, Expectation]:
    """By the store's id, of the complete and feasible trials, that which is the most likely to be the best first.

    Nothing where there is none, and where nothing tells how noisy they are: with fewer than five epochs, and neither
    folds nor repeats.
    """
    rows = connection.execute(ranked_trials(study_id, direction, limit=MOST)).all()
    ids = [row.trial_id for row in rows]
    curves, trainings = _curves(connection, ids), _trainings(connection, ids)
    levels = np.array([_level(row.value, curves[row.trial_id], row.trial_id in trainings, direction) for row in rows])
    variances = _variances([trainings.get(key) or curves[key] for key in ids], [key in trainings for key in ids])
    if not rows or variances is None:
        return {}
    signs = 1.0 if direction == Direction.MAXIMIZE else -1.0
    means, deviations = shrunk(signs * levels, variances)
    chances = chances_to_be_the_best(means, deviations)
    found = {}
    for place in np.lexsort((-means, -chances)).tolist():
        value, deviation = float(signs * means[place]), float(deviations[place])
        low, high = value - DEVIATIONS * deviation, value + DEVIATIONS * deviation
        found[ids[place]] = Expectation(value, low, high, deviation, float(chances[place]))
    return found


def gain_of(connection: Connection, study_id: int, direction: Direction) -> Gain | None:
    """What as much device time again would bring, by the curves of all trials that have not failed."""
    curve = trial_intermediate_values.c
    rows = connection.execute(
        select(curve.trial_id, curve.step, curve.intermediate_value)
        .join(trials, trials.c.trial_id == curve.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state != OptunaState.FAIL,
            curve.intermediate_value_type == "FINITE",
        )
        .order_by(curve.trial_id, curve.step)
    )
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, step, value in rows:
        found[trial_id][step] = value
    return expected_gain(found.values(), direction)


def undecided(found: Mapping[int, Expectation]) -> list[int]:
    """The fewest trials that have the best one among them with a probability of 95 %; none where that is one trial."""
    chosen: list[int] = []
    covered = 0.0
    for key, one in found.items():
        if covered >= SURE:
            break
        chosen.append(key)
        covered += one.best
    return chosen if len(chosen) > 1 else []


def undecided_in_words(found: Mapping[int, Expectation], metric: str) -> str | None:
    """`3 trials cannot be told apart: 17, 4, 9 (val_accuracy 0.981 ± 0.004)`; None where one is the best for sure.

    Args:
        found: by the trials' numbers.
        metric: the objective.
    """
    among = undecided(found)
    if not among:
        return None
    first = found[among[0]]
    more = f" and {len(among) - MOST_NAMED} others" if len(among) > MOST_NAMED + 1 else ""
    named = ", ".join(map(str, among[:MOST_NAMED] if more else among))
    reached = with_margin(first.value, first.high - first.value)
    return f"{len(among)} trials cannot be told apart: {named}{more} ({metric} {reached})"


def shrunk(levels: Floats, variances: Floats) -> tuple[Floats, Floats]:
    """Posterior means and standard deviations of what is measured with noise: each is drawn to the mean of all.

    The empirical Bayes estimate of Morris 1983, Parametric Empirical Bayes Inference, J. American Statistical
    Association 78, with unequal variances; its intervals allow for the mean and the spread being estimated themselves.
    Trials that are far worse than the others are of another kind, and left as they are.

    Args:
        levels: (trials,), the larger the better.
        variances: (trials,) of their noise.
    """
    low, high = np.quantile(levels, (0.25, 0.75))
    usual = levels >= low - FENCE * (high - low)
    count = int(usual.sum())
    if count < FEWEST:
        return levels, np.sqrt(variances)
    spread = max(0.0, float(levels[usual].var(ddof=1) - variances[usual].mean()))
    whole = np.maximum(variances + spread, 1e-300)
    mean = np.average(levels[usual], weights=1 / whole[usual]) if (variances > 0).all() else levels[usual].mean()
    drawn = np.where(usual, (count - 3) / (count - 1) * variances / whole, 0.0)
    ratio = float(variances[usual].mean() + spread) / whole
    uncertain = 2 / (count - 3) * drawn**2 * ratio * (levels - mean) ** 2
    variance = variances * (1 - (count - 1) / count * drawn) + uncertain
    return (1 - drawn) * levels + drawn * mean, np.sqrt(variance)


def chances_to_be_the_best(means: Floats, deviations: Floats) -> Floats:
    """The probability of each to have the largest value, of independent normal distributions; by an integral."""
    chances = np.zeros(len(means))
    some = np.argsort(-means, kind="stable")[:CANDIDATES]
    mean, deviation = means[some], np.maximum(deviations[some], 1e-9 * max(float(np.ptp(means)), 1e-9))
    # Of each one's own distribution: a grid for all would miss those that are narrow.
    steps = (np.arange(STEPS) + 0.5) / STEPS * 12 - 6
    density = np.exp(-0.5 * steps**2)
    for place in range(len(some)):
        at = mean[place] + deviation[place] * steps
        below = log_ndtr((at[:, None] - mean[None]) / deviation[None])
        below[:, place] = 0.0
        chances[some[place]] = density @ np.exp(below.sum(1))
    return np.asarray(chances / chances.sum(), float)


def _level(value: float, curve: Sequence[float], is_mean: bool, direction: Direction) -> float:
    """What a trial has reached, without the luck of its best epoch: a robust line through the epochs around it.

    Theil and Sen's: the median of the slopes of all pairs. Of several trainings, their mean is the value.
    """
    if is_mean or len(curve) < FEWEST_FOR_NOISE:
        return value
    best = min(range(len(curve)), key=lambda place: (direction.cost(curve[place]), place))
    wide = min(max(NEAREST[0], len(curve) // 4), NEAREST[1])
    first = min(max(0, best - wide // 2), len(curve) - wide)
    places = range(first, first + wide)
    slope = median((curve[b] - curve[a]) / (b - a) for a in places for b in places if a < b)
    return median(curve[place] - slope * (place - best) for place in places)


def _variances(values: Sequence[Sequence[float]], are_trainings: Sequence[bool]) -> Floats | None:
    """The variances of trials' values: of the mean of several trainings, or of the scatter of the last half of a curve.

    As few values say little, each is halfway to the median of all. None where no trial has enough of them.
    """
    found = np.full(len(values), np.nan)
    for place, (some, is_several) in enumerate(zip(values, are_trainings, strict=True)):
        if is_several and len(some) > 1:
            found[place] = np.var(some, ddof=1) / len(some)
        elif not is_several and len(some) >= FEWEST_FOR_NOISE:
            found[place] = noise_of(some[-max(FEWEST_FOR_NOISE, len(some) // 2) :]) ** 2
    if np.isnan(found).all():
        return None
    usual = float(np.nanmedian(found))
    return np.where(np.isnan(found), usual, (found + usual) / 2)


def _curves(connection: Connection, ids: Sequence[int]) -> Mapping[int, list[float]]:
    """The finite values of each trial's curve, in their order."""
    curve = trial_intermediate_values.c
    found: dict[int, list[float]] = defaultdict(list)
    rows = select(curve.trial_id, curve.intermediate_value).where(
        curve.trial_id.in_(ids), curve.intermediate_value_type == "FINITE"
    )
    for trial_id, value in connection.execute(rows.order_by(curve.trial_id, curve.step)):
        found[trial_id].append(value)
    return found


def _trainings(connection: Connection, ids: Sequence[int]) -> Mapping[int, list[float]]:
    """What each of a trial's trainings has reached, of trials that have several."""
    attributes = trial_system_attributes.c
    wanted = attributes.trial_id.in_(ids) & (attributes.key == TRAININGS)
    rows = connection.execute(select(attributes.trial_id, attributes.value_json).where(wanted))
    return {trial_id: results for trial_id, text in rows if len(results := json.loads(text)) > 1}
