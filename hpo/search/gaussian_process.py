"""A Gaussian process of few observations: its scales by their likelihood, its predictions, the expected improvement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

Floats = NDArray[np.float64]

# Normal priors of the logarithms: of the inverse squared scale of a parameter, of the noise of a complete curve, and of
# what a curve that was cut off adds to it, as shares of the variance.
SCALE_PRIOR, NOISE_PRIOR, CUT_PRIOR = (0.5, 1.5), (-3.0, 1.5), (-2.0, 1.5)
JITTER = 1e-9
MOST_STEPS = 20  # of the search for scales


@dataclass(frozen=True)
class Scales:
    """
    Attributes:
        inverse: squared scales (columns,), inverted.
        noise: variance of an observation, a share of that of the process.
        cut: what is added to it, times the share of the epochs that a curve lacks.
    """

    inverse: Floats
    noise: float
    cut: float

    def noise_of(self, missing: Floats) -> Floats:
        return self.noise + self.cut * missing + JITTER


def kernel(distances: Floats, inverse: Floats) -> Floats:
    """Matern's with a smoothness of 5/2 (Rasmussen and Williams 2006, eq. 4.17).

    Args:
        distances: squared, in each column (columns, rows, rows).
    """
    root = np.sqrt(5 * np.tensordot(inverse, distances, 1))
    return (1 + root + root**2 / 3) * np.exp(-root)


def fit(distances: Floats, values: Floats, missing: Floats, doubt: Floats | float = 0.0) -> Scales:
    """The scales of greatest posterior density, by L-BFGS from the means of their priors.

    Args:
        distances: squared (columns, observations, observations).
        values: (observations,), with a mean of 0.
        missing: share (observations,) of the epochs that each curve lacks.
        doubt: variance (observations,) that is known, as a share of that of the process.
    """
    columns, count = distances.shape[:2]
    centre = np.r_[np.full(columns, SCALE_PRIOR[0]), NOISE_PRIOR[0], CUT_PRIOR[0]]
    spread = np.r_[np.full(columns, SCALE_PRIOR[1]), NOISE_PRIOR[1], CUT_PRIOR[1]]

    def loss(logs: Floats) -> tuple[float, Floats]:
        inverse, noise, cut = np.exp(logs[:columns]), np.exp(logs[-2]), np.exp(logs[-1])
        root = np.sqrt(5 * np.tensordot(inverse, distances, 1))
        decay = np.exp(-root)
        covariance = (1 + root + root**2 / 3) * decay
        covariance[np.diag_indices(count)] += noise + cut * missing + doubt + JITTER
        lower = cholesky(covariance, lower=True, check_finite=False)
        solved = cho_solve((lower, True), values, check_finite=False)
        variance = max(float(values @ solved) / count, 1e-6)  # of the process, which has a closed form
        inverted = cho_solve((lower, True), np.eye(count), check_finite=False)
        weights = inverted - np.outer(solved, solved) / variance
        by_distance = weights * (-5 / 6) * (1 + root) * decay
        gradient = np.empty_like(logs)
        gradient[:columns] = 0.5 * np.tensordot(distances, by_distance, 2) * inverse
        diagonal = 0.5 * np.diagonal(weights)
        gradient[-2], gradient[-1] = noise * diagonal.sum(), cut * (diagonal * missing).sum()
        off = (logs - centre) / spread
        found = 0.5 * count * np.log(variance) + np.log(np.diagonal(lower)).sum() + 0.5 * (off**2).sum()
        return float(found), gradient + off / spread

    bounds = [(mean - 4 * width, mean + 4 * width) for mean, width in zip(centre, spread, strict=True)]
    logs = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MOST_STEPS}).x
    return Scales(np.exp(logs[:columns]), float(np.exp(logs[-2])), float(np.exp(logs[-1])))


class Posterior:
    """The process after its observations.

    Args:
        covariance: of the observations (observations, observations), with their noise.
        values: (observations,).
    """

    def __init__(self, covariance: Floats, values: Floats) -> None:
        self._lower = cholesky(covariance, lower=True, check_finite=False)
        self._solved = cho_solve((self._lower, True), values, check_finite=False)
        self.variance = max(float(values @ self._solved) / len(values), 1e-6)

    def mean(self, across: Floats) -> Floats:
        """Of other points, from their covariances (points, observations) with the observations."""
        return np.asarray(across @ self._solved)

    def deviation(self, across: Floats) -> Floats:
        whitened = solve_triangular(self._lower, across.T, lower=True, check_finite=False)
        return np.asarray(np.sqrt(np.maximum(1 - np.square(whitened).sum(0), JITTER) * self.variance))


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """By how much points are expected to be below the best (Jones et al. 1998, J. Global Optimization 13, eq. 15)."""
    ahead = (best - mean) / deviation
    density = np.exp(-0.5 * ahead**2) / np.sqrt(2 * np.pi)
    return np.asarray(deviation * (ahead * ndtr(ahead) + density))
