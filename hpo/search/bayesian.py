"""A sampler that models the final values of trials by a Gaussian process, and proposes what should improve on the best.

It learns from every epoch: a trial that was pruned, waits at a rung or still runs counts with the value that it is
expected to end with (`hpo.search.expected`). What has begun and reported nothing is taken to have the value that the
model predicts, so that proposals to many slots differ (Ginsbourger et al. 2010, kriging believer).

Of several objectives, each proposal improves on a random weighting of them (Knowles 2006, IEEE Transactions on
Evolutionary Computation 10 (1), ParEGO), so that proposals spread over the front.

A proposal depends only on the trials, their curves, the seed and the trial's number: any worker makes the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri
from threadpoolctl import ThreadpoolController

from hpo.search.expected import expected_points
from hpo.search.gaussian_process import SCALE_PRIOR, Posterior, Scales, expected_improvement, fit, kernel
from hpo.search.points import Points, squared_distances
from hpo.search.prior import fading
from hpo.search.several import points_of, signs_of
from hpo.study.constraints import total

Floats = NDArray[np.float64]

FEWEST = 4  # trials with a value, from which a model is made
AT_RANDOM = 0.05  # of the later ones
OBSERVED = 100  # trials that the model is fitted to: the better half by rank, the others spread over the rest
DOUBT = 0.25  # variance of an earlier study's trial, as long as the search has none of its own
MOST_EARLIER = 60  # trials of earlier studies
TRUST = 4  # trials of its own count as much as the assumption that the earlier ones agree with them
LEAST_SPREAD = 0.3  # of the search's own values among those of earlier studies, whose deviation is 1
THREADS = ThreadpoolController()
AUGMENTED = 0.05  # Knowles's share of the weighted sum
DRAWN, MOVED, CLIMBED, CLIMBS, TOP = 150, 250, 60, 2, 5  # candidates


class BayesianSampler(BaseSampler):
    """
    Args:
        points: of the search space.
        distributions: of all parameters.
        reports: of a complete trial: its epochs, or validations.
        interval: epochs, or steps, between two of them.
        length: the parameter that is the length of a trial, where it is searched: then curves are compared by the share
            of their own lengths.
        startup: trials that are drawn at random.
        seed: of this proposal.
        earlier: rows of the trials of earlier studies, and the normal quantiles of their ranks.
    """

    def __init__(
        self,
        points: Points,
        distributions: Mapping[str, BaseDistribution],
        *,
        reports: int,
        interval: int,
        startup: int,
        seed: int,
        length: str | None = None,
        earlier: tuple[Floats, Floats] | None = None,
    ) -> None:
        self._points = points
        self._distributions = distributions
        self._reports = reports
        self._interval = interval
        self._length = length
        self._startup = startup
        self._earlier = earlier
        self._rng = np.random.default_rng(seed)
        self._independent = optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: self._distributions[name] for name in self._points.names}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not self._points.names:
            return {}
        begun = [
            other
            for other in study._get_trials(deepcopy=False, use_cache=True)
            if other.number != trial.number and other.params
        ]
        with THREADS.limit(limits=1):  # matrices so small are slower with several, above all beside training
            return self._points.point(self._proposal(begun, signs_of(study.directions)))

    def _proposal(self, begun: Sequence[FrozenTrial], signs: Floats) -> Floats:
        points, rng = self._points, self._rng
        rows = points.rows([trial.params for trial in begun])
        known = set(points.keys(rows))
        points_of_trials, missing, infeasible = self._costs(begun, signs)
        costs = points_of_trials[:, 0] if len(signs) == 1 else _weighted(points_of_trials, rng)
        observed = np.flatnonzero(~np.isnan(costs))
        weight = 0.0 if self._earlier is None else fading(len(observed))
        others = 0 if self._earlier is None or not weight else len(self._earlier[1])
        is_early = others + len(begun) < self._startup or others + len(observed) < FEWEST
        if is_early or rng.random() < AT_RANDOM:
            return np.asarray(self._new(points.draw(DRAWN, rng), known)[0])
        chosen = self._chosen(observed, costs)
        x, cut = rows[chosen], missing[chosen]
        # Ranks: what is far worse than all others says no more than that it is worse.
        y = ndtri((_ranks(costs[chosen]) - 0.375) / (len(chosen) + 0.25))
        y = y / max(float(y.std()), 1e-9) if len(y) else y
        doubt, own = np.zeros(len(x)), slice(len(x) or None)
        if others and self._earlier is not None:
            theirs, ranked = self._earlier
            y, agreement = _beside(self._as_expected(x), y)
            y, cut = np.r_[y, ranked], np.r_[cut, np.zeros(len(theirs))]
            x = np.concatenate([x, theirs])
            doubt = np.r_[doubt, np.full(len(theirs), DOUBT / max(weight * agreement, 1e-3) ** 2)]
        scales = fit(squared_distances(x, x, points.is_choice), y, cut, doubt)
        pending = rows[np.isnan(costs) & ~infeasible]
        model = _Model(points, x, y, scales, scales.noise_of(cut) + doubt, pending)
        best = float(model.mean(x[own]).min())
        top = x[np.argsort(model.mean(x), kind="stable")[:TOP]]
        near = points.near(top[rng.integers(len(top), size=MOVED)], rng)
        candidates = self._new(np.concatenate([points.draw(DRAWN, rng), near]), known)
        scores = model.improvement(candidates, best)
        for _ in range(CLIMBS):
            leaders = np.argsort(-scores, kind="stable")[:TOP]
            climbed = points.near(candidates[np.repeat(leaders, CLIMBED // TOP)], rng)
            # With the leaders, which are new where anything is: of a small space, all that is near them may be tried.
            candidates = self._new(np.concatenate([candidates[leaders], climbed]), known)
            scores = model.improvement(candidates, best)
        return np.asarray(candidates[int(np.argmax(scores))])

    def _as_expected(self, rows: Floats) -> Floats:
        """What the earlier trials alone let expect of points."""
        assert self._earlier is not None
        theirs, ranked = self._earlier
        inverse = np.full(theirs.shape[1], np.exp(SCALE_PRIOR[0]))
        among = kernel(squared_distances(theirs, theirs, self._points.is_choice), inverse)
        posterior = Posterior(among + DOUBT * np.eye(len(theirs)), ranked)
        return posterior.mean(kernel(squared_distances(rows, theirs, self._points.is_choice), inverse))

    def _new(self, rows: Floats, known: set[bytes]) -> Floats:
        """Those that no trial has tried; all of them where that leaves none."""
        fresh = [key not in known for key in self._points.keys(rows)]
        return rows[fresh] if any(fresh) else rows

    def _costs(self, begun: Sequence[FrozenTrial], signs: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Expected costs (trials, objectives) at the end, NaN where nothing is known; shares of epochs that are
        missing; what failed."""
        curves = np.full((len(signs), len(begun), self._reports), np.nan)
        failed = np.zeros(len(begun), bool)
        violation = np.zeros(len(begun))
        ended = np.zeros(len(begun), bool)
        for row, trial in enumerate(begun):
            share = trial.params.get(self._length, 0) / (self._reports * self._interval) if self._length else 1.0
            for epoch, values in points_of(trial, len(signs)).items():
                place = math.ceil(epoch / self._interval / (share or 1.0) - 1e-9) - 1
                if 0 <= place < self._reports and np.isfinite(values).all():
                    curves[:, row, place] = signs * values
            ended[row] = trial.state == TrialState.COMPLETE
            violation[row] = total(trial.constraints) if trial.state.is_finished() else 0.0
            failed[row] = trial.state == TrialState.FAIL or violation[row] > 0
            failed[row] |= trial.state == TrialState.PRUNED and not trial.intermediate_values
        lacks = np.isnan(curves[0])
        trained = np.where(lacks.all(1), 0, self._reports - np.argmax(~lacks[:, ::-1], axis=1))
        costs = expected_points(curves)
        for row, trial in enumerate(begun):
            if ended[row] and not failed[row]:
                costs[row] = signs * trial.values
        missing = np.where(ended, 0.0, 1 - trained / self._reports)
        if failed.any():
            known = costs[~failed & ~np.isnan(costs).any(1)]
            worst = known.max(0) if len(known) else 0.0
            # Behind all others by what they violate, so that there is a way back where nothing is feasible yet.
            costs[failed], missing[failed] = worst + violation[failed, None], 0.0
        return costs, missing, failed

    def _chosen(self, observed: NDArray[np.intp], costs: Floats) -> NDArray[np.intp]:
        if len(observed) <= OBSERVED:
            return observed
        order = observed[np.argsort(costs[observed], kind="stable")]
        half = OBSERVED // 2
        others = self._rng.choice(len(order) - half, half, replace=False) + half
        return order[np.r_[np.arange(half), np.sort(others)]]


def _beside(expected: Floats, own: Floats) -> tuple[Floats, float]:
    """A search's own values on the scale of the earlier ones; and how far they agree, from 0 to 1.

    Args:
        expected: what the earlier trials let expect of its points.
        own: its values, with a mean of 0 and a deviation of 1.
    """
    agreement = 1.0
    if len(own) > 2 and min(expected.std(), own.std()) > 0:
        alike = float(np.corrcoef(_ranks(expected), _ranks(own))[0, 1])
        agreement = max(0.0, (TRUST + len(own) * alike) / (TRUST + len(own)))
    if not len(own):
        return own, agreement
    spread = agreement * np.clip(expected.std(), LEAST_SPREAD, 1.0) + 1 - agreement
    return np.asarray(agreement * expected.mean() + own * spread), agreement


def _weighted(costs: Floats, rng: np.random.Generator) -> Floats:
    """One cost (trials,) of several: the augmented Chebyshev norm of their ranks, with weights drawn at random."""
    found = np.full(len(costs), np.nan)
    known = ~np.isnan(costs).any(1)
    if known.any():
        weights = rng.dirichlet(np.ones(costs.shape[1]))
        scaled = np.stack([_ranks(column) for column in costs[known].T], axis=1) / known.sum()
        found[known] = (weights * scaled).max(1) + AUGMENTED * (weights * scaled).sum(1)
    return found


def _ranks(values: Floats) -> Floats:
    """From 1 for the smallest; equal values have the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places], float)


class _Model:
    """The process with its scales, and with the points whose values it believes."""

    def __init__(self, points: Points, x: Floats, y: Floats, scales: Scales, noise: Floats, pending: Floats) -> None:
        self._is_choice = points.is_choice
        self._inverse = scales.inverse
        self._x = x
        self._posterior = Posterior(self._across(x) + np.diag(noise), y)
        if len(pending):
            believed = self._posterior.mean(self._across(pending))
            self._x = np.concatenate([x, pending])
            noise = np.r_[noise, np.full(len(pending), scales.noise_of(np.zeros(1))[0])]
            self._posterior = Posterior(self._across(self._x) + np.diag(noise), np.r_[y, believed])

    def mean(self, rows: Floats) -> Floats:
        return self._posterior.mean(self._across(rows))

    def improvement(self, rows: Floats, best: float) -> Floats:
        across = self._across(rows)
        return expected_improvement(self._posterior.mean(across), self._posterior.deviation(across), best)

    def _across(self, rows: Floats) -> Floats:
        return kernel(squared_distances(rows, self._x, self._is_choice), self._inverse)
