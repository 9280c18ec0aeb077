"""The Gaussian process: its likelihood's gradient, its predictions, and the expected improvement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize

from hpo.search import gaussian_process
from hpo.search.gaussian_process import Posterior, expected_improvement, fit, kernel

RNG = np.random.default_rng(0)
X = RNG.random((30, 3))
Y = np.sin(6 * X[:, 0]) + 0.1 * X[:, 1]
Y -= Y.mean()
MISSING = np.repeat([0.0, 0.9], 15)


def distances(left: Any, right: Any) -> Any:
    return np.square(left.T[:, :, None] - right.T[:, None, :])


def test_the_gradient_is_that_of_the_density(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def checked(loss: Any, start: Any, **options: Any) -> Any:
        for point in (start, start + RNG.normal(size=len(start))):
            numeric = optimize.approx_fprime(point, lambda logs: loss(logs)[0], 1e-6)
            np.testing.assert_allclose(loss(point)[1], numeric, rtol=1e-3, atol=1e-3)
        seen["found"] = optimize.minimize(loss, start, **options)
        return seen["found"]

    monkeypatch.setattr(gaussian_process, "minimize", checked)
    fit(distances(X, X), Y, MISSING)

    assert seen["found"].fun < 0


def test_what_a_value_depends_on_gets_the_shortest_scale() -> None:
    scales = fit(distances(X, X), Y, np.zeros(30))

    assert scales.inverse[0] > 5 * scales.inverse[1:].max()
    assert scales.noise < 0.05


def test_curves_that_were_cut_off_may_be_noisier() -> None:
    noisy = Y + np.repeat([0.0, 0.6], 15) * RNG.normal(size=30)

    assert fit(distances(X, X), noisy, MISSING).cut > 3 * fit(distances(X, X), Y, MISSING).cut


def test_the_posterior_goes_through_what_was_observed_and_is_uncertain_elsewhere() -> None:
    inverse = np.array([10.0, 1.0, 1.0])
    model = Posterior(kernel(distances(X, X), inverse) + 1e-6 * np.eye(30), Y)
    far = kernel(distances(np.full((1, 3), 9.0), X), inverse)

    np.testing.assert_allclose(model.mean(kernel(distances(X, X), inverse)), Y, atol=1e-3)
    assert model.deviation(kernel(distances(X, X), inverse)).max() < 0.1 * model.deviation(far)[0]
    assert model.mean(far)[0] == pytest.approx(0.0, abs=1e-6)


def test_expected_improvement_is_the_mean_of_what_is_below_the_best() -> None:
    draws = RNG.normal(0.3, 0.5, 400_000)

    found = expected_improvement(np.array([0.3]), np.array([0.5]), 0.1)

    assert found[0] == pytest.approx(np.maximum(0.1 - draws, 0).mean(), rel=0.02)
