"""Plateaus of curves: a table of cases."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.search.noise import noise_of
from hpo.study.spec import EarlyStopping
from hpo.study.states import Direction
from hpo.worker.early_stopping import waited_in_vain

# curve, patience, min_delta, whether it has reached a plateau; larger is better
CURVES = [
    ([], 1, 0.0, False),
    ([0.5], 1, 0.0, False),
    ([0.5, 0.5], 1, 0.0, True),  # equal is no improvement
    ([0.5, 0.6], 1, 0.0, False),
    ([0.5, 0.4, 0.3], 3, 0.0, False),
    ([0.5, 0.4, 0.3, 0.2], 3, 0.0, True),
    ([0.5, 0.4, 0.3, 0.6], 3, 0.0, False),  # better than the best, just in time
    ([0.5, 0.4, 0.3, 0.45], 3, 0.0, True),  # better than the last, not than the best
    ([0.5, 0.509, 0.519], 2, 0.01, False),  # both steps are small, together they are not
    ([0.5, 0.504, 0.508], 2, 0.01, True),
    ([0.5, 0.625], 1, 0.125, True),  # an improvement has to be more than min_delta
    ([0.5, 0.7, 0.7], 2, 0.01, False),
    ([0.5, 0.7, 0.7, 0.7], 2, 0.01, True),
    ([-3.0, -2.0, -2.5], 2, 0.0, False),
]


@pytest.mark.parametrize(("curve", "patience", "min_delta", "is_flat"), CURVES)
def test_a_curve_is_at_a_plateau_when_its_last_values_are_no_improvement(
    curve: list[float], patience: int, min_delta: float, is_flat: bool
) -> None:
    falling = [-value for value in curve]
    stopping = EarlyStopping(patience=patience, min_delta=min_delta)

    assert (waited_in_vain(curve, stopping, Direction.MAXIMIZE) is not None) is is_flat
    assert (waited_in_vain(falling, stopping, Direction.MINIMIZE) is not None) is is_flat


def noisy(length: int, *, slope: float, noise: float, seed: int = 0) -> list[float]:
    draw = np.random.default_rng(seed)
    values: list[float] = (slope * np.arange(length) + noise * draw.normal(size=length)).tolist()
    return values


@pytest.mark.parametrize("noise", [0.001, 0.1, 10.0])
def test_the_noise_of_a_curve_is_that_around_its_trend(noise: float) -> None:
    found = np.mean([noise_of(noisy(30, slope=0.3 * noise, noise=noise, seed=seed)) for seed in range(50)])

    assert found == pytest.approx(noise, rel=0.2)
    assert noise_of([0.5, 0.9, 0.1, 0.3]) == 0.0  # too few to tell


def test_by_itself_it_waits_for_a_third_of_the_epochs_so_far_and_for_ten_at_least() -> None:
    rising = np.linspace(0, 1, 60).tolist()

    assert waited_in_vain([*rising, *[1.0] * 20], EarlyStopping(), Direction.MAXIMIZE) is None
    assert waited_in_vain([*rising, *[1.0] * 30], EarlyStopping(), Direction.MAXIMIZE) == 30
    assert waited_in_vain([0.5] * 10, EarlyStopping(), Direction.MAXIMIZE) is None
    assert waited_in_vain([0.5] * 11, EarlyStopping(), Direction.MAXIMIZE) == 10


def test_by_itself_it_takes_no_noise_for_an_improvement() -> None:
    stopped = [
        next(
            length
            for length in range(1, 400)
            if waited_in_vain(noisy(length, slope=0.0, noise=1.0, seed=seed), EarlyStopping(), Direction.MAXIMIZE)
        )
        for seed in range(20)
    ]
    with_any = [
        waited_in_vain(noisy(100, slope=0.1, noise=1.0, seed=seed), EarlyStopping(), Direction.MAXIMIZE)
        for seed in range(20)
    ]

    assert np.median(stopped) < 30
    assert with_any.count(None) == 20  # it improves by a third of its noise in the time that it is given
