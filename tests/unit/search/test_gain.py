"""What more trials would bring: against simulated searches of a recorded grid, and at its edges."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from hpo.search.gain import Gain, expected_gain
from hpo.search.simulate import simulate
from hpo.space import Choice, Float, Parameter, SearchSpace
from hpo.study.states import Direction

SPACE = SearchSpace(
    (
        Parameter("x", Float(0.0, 1.0)),
        Parameter("y", Float(0.0, 1.0)),
        Parameter("z", Choice("a", "b", "c")),
    )
)
OF_Z = {"a": 0.3, "b": 0.0, "c": 0.2}
EPOCHS = 9


def searched(seed: int, trainings: float, *, noise: float = 0.0) -> dict[int, dict[int, float]]:
    """The curves of a search of a smooth function with a bounded maximum, after so many complete trainings."""
    rng = np.random.default_rng(seed)

    def curve(params: dict[str, float | str], trial: int) -> tuple[list[float], float]:
        away = (float(params["x"]) - 0.7) ** 2 + (float(params["y"]) - 0.2) ** 2 + OF_Z[str(params["z"])]
        return [1 - away - 0.5 * 0.6**epoch + noise * rng.normal() for epoch in range(EPOCHS)], 1.0

    curves: dict[int, dict[int, float]] = defaultdict(dict)
    for event in simulate(SPACE, curve, epochs=EPOCHS, sampler="tpe", device_seconds=trainings * EPOCHS, seed=seed):
        curves[event.trial][event.epoch] = event.value
    return curves


def best(curves: dict[int, dict[int, float]]) -> float:
    return max(max(curve.values()) for curve in curves.values())


def test_it_is_of_the_size_of_what_as_much_time_again_does_bring() -> None:
    expected, gained, inside = [], [], 0
    for seed in range(12):
        before, after = searched(seed, 16), searched(seed, 32)
        found = expected_gain(before.values(), Direction.MAXIMIZE)
        assert found is not None
        expected.append(found.value)
        gained.append(best(after) - best(before))
        inside += gained[-1] <= found.high

    assert np.mean(gained) / 4 < np.mean(expected) < 4 * np.mean(gained)
    assert inside >= 8


def test_where_the_scatter_of_curves_is_larger_it_is_noise() -> None:
    quiet, noisy = (expected_gain(searched(1, 16, noise=noise).values(), Direction.MAXIMIZE) for noise in (0.0, 0.1))

    assert quiet is not None
    assert noisy is not None
    assert (quiet.is_noise, noisy.is_noise) == (False, True)
    assert noisy.noise == pytest.approx(0.1, rel=0.8)


def test_a_direction_turned_around_changes_nothing() -> None:
    curves = searched(2, 16)
    turned = [{epoch: -value for epoch, value in curve.items()} for curve in curves.values()]

    assert expected_gain(curves.values(), Direction.MAXIMIZE) == expected_gain(turned, Direction.MINIMIZE)


def test_nothing_is_told_of_few_trials_and_nothing_is_gained_where_all_are_equal() -> None:
    assert expected_gain([{1: 0.5}] * 15, Direction.MAXIMIZE) is None
    assert expected_gain([{1: 0.5}] * 15 + [{}, {1: float("nan")}], Direction.MAXIMIZE) is None
    assert expected_gain([{1: 0.5}] * 16, Direction.MAXIMIZE) == Gain(0.0, 0.0, 0.0)


def test_its_words_and_its_reasons() -> None:
    gain = Gain(0.0012, 0.004, 0.001)
    words = "as much time again would improve val_accuracy by about 0.0012 (0 to 0.004)"

    assert gain.in_words("val_accuracy") == words
    assert gain.reason_to_end("val_accuracy", device_hours=2, price=0.0) is None
    assert gain.reason_to_end("val_accuracy", device_hours=2, price=0.0005) is None
    reason = gain.reason_to_end("val_accuracy", device_hours=2, price=0.001)
    assert reason == f"{words}, 0.0006 for a device-hour, less than the price of 0.001"
    noise = Gain(0.0012, 0.004, 0.005).reason_to_end("val_accuracy", device_hours=0, price=0.0)
    assert noise == f"{words}, less than its noise of 0.005"
