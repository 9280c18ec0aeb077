"""What trials are expected to reach: against simulated trials whose true levels are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hpo.printable import with_margin
from hpo.results.expected import Expectation, chances_to_be_the_best, shrunk, undecided, undecided_in_words

Floats = NDArray[np.float64]


def noisy(count: int, spread: float, noise: float, seed: int, *, bad: int = 0) -> tuple[Floats, Floats, Floats]:
    """(true levels, measured ones, variances of the noise); some of the trials are far worse than the others."""
    rng = np.random.default_rng(seed)
    true = 0.9 + spread * rng.standard_normal(count)
    true[:bad] -= rng.exponential(0.2, bad)
    deviations = noise * rng.uniform(0.5, 1.5, count)
    return true, true + deviations * rng.standard_normal(count), deviations**2


@pytest.mark.parametrize(("count", "spread"), [(8, 0.01), (40, 0.003), (40, 0.01), (40, 0.03), (200, 0.01)])
def test_the_intervals_have_the_true_levels_as_often_as_they_say(count: int, spread: float) -> None:
    inside, luck, lucky = [], [], []
    for seed in range(200):
        true, measured, variances = noisy(count, spread, 0.01, seed, bad=count // 8)
        means, deviations = shrunk(measured, variances)
        inside.append(float((np.abs(means - true) < 1.96 * deviations).mean()))
        best, chosen = int(np.argmax(measured)), int(np.argmax(means))
        luck.append(measured[best] - true[best])
        lucky.append(means[chosen] - true[chosen])

    assert 0.92 < np.mean(inside) < 0.98
    assert abs(float(np.mean(lucky))) < 0.4 * float(np.mean(luck))


def test_the_choice_by_what_is_expected_is_better_than_by_the_largest_value() -> None:
    lost = np.zeros(2)
    for seed in range(200):
        true, measured, variances = noisy(200, 0.01, 0.01, seed)
        means, _ = shrunk(measured, variances)
        lost += [true.max() - true[np.argmax(measured)], true.max() - true[np.argmax(means)]]

    assert lost[1] < 0.75 * lost[0]


def test_without_noise_nothing_is_drawn_to_the_mean() -> None:
    levels = np.array([0.9, 0.8, 0.85, 0.7, 0.6])

    means, deviations = shrunk(levels, np.zeros(5))

    assert means == pytest.approx(levels)
    assert deviations == pytest.approx(0.0)


def test_equal_trials_with_noise_are_drawn_together() -> None:
    means, deviations = shrunk(np.array([0.91, 0.90, 0.89, 0.90, 0.905, 0.895]), np.full(6, 0.01**2))

    assert np.ptp(means) < 0.01
    assert (deviations > 0).all()


def test_three_trials_say_nothing_of_each_other() -> None:
    means, deviations = shrunk(np.array([0.9, 0.8, 0.7]), np.full(3, 0.01**2))

    assert means == pytest.approx([0.9, 0.8, 0.7])
    assert deviations == pytest.approx(0.01)


def test_the_chances_to_be_the_best_are_those_of_draws() -> None:
    means, deviations = np.array([0.90, 0.89, 0.85, 0.92, 0.70]), np.array([0.02, 0.001, 0.05, 0.01, 0.02])
    drawn = means + deviations * np.random.default_rng(0).standard_normal((200_000, 5))
    shares = np.bincount(drawn.argmax(1), minlength=5) / len(drawn)

    found = chances_to_be_the_best(means, deviations)

    assert found == pytest.approx(shares, abs=0.005)
    assert chances_to_be_the_best(np.array([0.9, 0.8]), np.zeros(2)) == pytest.approx([1.0, 0.0])


def expectation(best: float) -> Expectation:
    return Expectation(0.98132, 0.97732, 0.98532, 0.002, best)


def test_the_fewest_trials_are_told_that_have_the_best_one_among_them() -> None:
    found = {17: expectation(0.5), 4: expectation(0.3), 9: expectation(0.16), 1: expectation(0.04)}

    assert undecided(found) == [17, 4, 9]
    assert undecided_in_words(found, "val_accuracy") == (
        "3 trials cannot be told apart: 17, 4, 9 (val_accuracy 0.981 ± 0.004)"
    )
    assert undecided_in_words({17: expectation(0.97), 4: expectation(0.03)}, "val_accuracy") is None
    assert undecided_in_words({}, "val_accuracy") is None
    many = {number: expectation(0.05) for number in range(20)}
    assert "19 trials cannot be told apart: 0, 1, 2, 3, 4, 5, 6, 7 and 11 others" in str(undecided_in_words(many, "m"))


@pytest.mark.parametrize(
    ("value", "margin", "words"),
    [
        (0.98132, 0.004, "0.981 ± 0.004"),
        (0.98132, 0.014, "0.981 ± 0.014"),
        (123.4, 20.0, "123.4 ± 20"),
        (2.5, 0.3, "2.5 ± 0.3"),
        (0.5, 0.0, "0.5 ± 0"),
    ],
)
def test_a_value_has_as_many_digits_as_its_margin(value: float, margin: float, words: str) -> None:
    assert with_margin(value, margin) == words
