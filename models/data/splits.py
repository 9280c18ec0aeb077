"""Splits into train, validation and test: by a seed, and the same for every trial of a study."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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


@dataclass(frozen=True)
class Folds:
    """How the training and validation parts are divided into folds.

    Attributes:
        kind: random; stratified by class; grouped, so that all samples of a group are in one fold; order, as stretches
            of consecutive samples; or time, where each fold is trained on the past of the samples that it validates on:
            the folds are the second half, so that the first of them is trained on the first half.
        keys: of all samples: class numbers, groups, or places in time.
        seed: of a random division.
    """

    kind: Literal["random", "stratified", "grouped", "order", "time"]
    keys: Any = None
    seed: int = 0

    def rows_of(self, rows: Rows, number: int, count: int) -> Rows:
        """The parts of a fold; the test part is the same in all.

        Args:
            number: of the fold, from 1 to `count`.

        Raises:
            ValueError: there are too few samples, groups or examples of a class for so many folds.
        """
        from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

        pool = np.union1d(rows.train, rows.validation)
        keys = None if self.keys is None else np.asarray(self.keys)[pool]
        if self.kind == "time" and keys is not None:
            pool = pool[np.argsort(keys, kind="stable")]
        drawn = {"shuffle": True, "random_state": self.seed}
        splitters: dict[str, Any] = {
            "random": lambda: KFold(count, **drawn),
            "stratified": lambda: StratifiedKFold(count, **drawn),
            "grouped": lambda: GroupKFold(count, **drawn),
            "order": lambda: KFold(count),
            "time": lambda: TimeSeriesSplit(count, test_size=max(1, len(pool) // (2 * count))),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a class with fewer examples than folds, which some folds are without
            division = splitters[self.kind]().split(pool, keys, keys)
            train, validation = next(itertools.islice(division, number - 1, None))
        return Rows(np.sort(pool[train]), np.sort(pool[validation]), rows.test)


def _cut(order: Ints, validation_fraction: float, test_fraction: float) -> Rows:
    validation = round(len(order) * validation_fraction)
    test = round(len(order) * test_fraction)
    train = len(order) - validation - test
    return Rows(*(np.sort(part) for part in np.split(order, [train, train + validation])))
