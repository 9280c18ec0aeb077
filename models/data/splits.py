"""Splits into train, validation and test: by a seed, and the same for every trial of a study."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Rows(NamedTuple):
    """Row numbers of each part, ascending."""

    train: Ints
    validation: Ints
    test: Ints


def check_fractions(validation: float, test: float, *, who: str) -> None:
    """Check that the fractions leave samples for training and validation.

    Raises:
        ValueError: they do not; the message begins with `who`.
    """
    if validation <= 0 or test < 0 or validation + test >= 1:
        raise ValueError(
            f"{who}: validation_fraction {validation} and test_fraction {test} must leave samples for validation "
            "and training: the first above 0, together below 1"
        )


def random_split(samples: int, validation_fraction: float, test_fraction: float, *, seed: int) -> Rows:
    """A random split of so many samples."""
    order = np.random.default_rng(seed).permutation(samples)
    return _cut(order, validation_fraction, test_fraction)


def stratified_split(labels: Ints, validation_fraction: float, test_fraction: float, *, seed: int) -> Rows:
    """A random split in which each class has the same fractions, to the nearest sample."""
    generator = np.random.default_rng(seed)
    cuts = [
        _cut(generator.permutation(np.flatnonzero(labels == label)), validation_fraction, test_fraction)
        for label in np.unique(labels)
    ]
    return Rows(*(np.sort(np.concatenate(part)) for part in zip(*cuts, strict=True)))


def stratified_choice(rows: Ints, labels: Ints, count: int, *, seed: int) -> Ints:
    """A choice of `count` of these rows, ascending, with each class's share; a larger choice includes a smaller one.

    Args:
        labels: class numbers of all rows.
    """
    generator = np.random.default_rng([seed, 1])
    place = np.empty(len(rows))  # in its class, from 0 to 1
    for label in np.unique(labels[rows]):
        members = np.flatnonzero(labels[rows] == label)
        place[generator.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(rows[np.argsort(place, kind="stable")[:count]])


def grouped_split(groups: Ints, validation_fraction: float, test_fraction: float, *, seed: int) -> Rows:
    """A random split that keeps all samples of a group in one part; fractions are of the groups."""
    names, numbers = np.unique(groups, return_inverse=True)
    parts = random_split(len(names), validation_fraction, test_fraction, seed=seed)
    return Rows(*(np.flatnonzero(np.isin(numbers, part)) for part in parts))


def time_split(samples: int, validation_fraction: float, test_fraction: float) -> Rows:
    """The first samples for training, the next for validation, the last for the test: no leak from the future."""
    return _cut(np.arange(samples), validation_fraction, test_fraction)


def _cut(order: Ints, validation_fraction: float, test_fraction: float) -> Rows:
    validation = round(len(order) * validation_fraction)
    test = round(len(order) * test_fraction)
    train = len(order) - validation - test
    return Rows(*(np.sort(part) for part in np.split(order, [train, train + validation])))
