"""Checks for suspicious data: pure functions on arrays.

Columns are (samples, columns), targets (samples,) of class numbers or (samples, values).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
How = Literal["equal", "linear", "monotone", "one-to-one", "determines", "separates", "indicator"]

FEWEST_SAMPLES = 30  # with fewer, unrelated columns fit by chance
FEWEST_OF_A_CLASS = 5
FEWEST_VALUES = 10  # of a target, or a column, for its order to be significant
SAMPLES_PER_VALUE = 10  # a column with so many samples per value is not a measurement of each sample
LINEAR = 1 - 1e-6  # a correlation of 1, but for the rounding of float32
QUICK_LOOK = 200


@dataclass(frozen=True)
class Leak:
    """A column that reveals the target.

    equal: the column is the target; linear: a correlation of 1 or -1; monotone: both rise together, or one falls
    as the other rises; one-to-one: each of its values stands for one class; determines: each of its values
    occurs with one class only; separates: thresholds on it separate all classes; indicator: it has two values, which
    depend on the class only.
    """

    column: int
    target: int
    how: How


def leaks(columns: Array, targets: Array, *, are_classes: bool) -> list[Leak]:
    """Columns that reveal a target, in their order; none when there are few samples."""
    values = targets.reshape(len(targets), -1)
    find = _class_leak if are_classes else _value_leak
    found = []
    for number in range(values.shape[1]):
        target = values[:, number]
        for column in range(columns.shape[1]):
            known = np.isfinite(columns[:, column]) & np.isfinite(target)
            if known.sum() < FEWEST_SAMPLES:
                continue
            how = find(columns[known, column], target[known])
            if how is not None:
                found.append(Leak(column, number, how))
    return sorted(found, key=lambda leak: (leak.column, leak.target))


def _value_leak(column: Array, target: Array) -> How | None:
    if np.ptp(column) == 0 or np.ptp(target) == 0:
        return None
    if np.array_equal(column, target):
        return "equal"
    if abs(_correlation(column, target)) >= LINEAR:
        return "linear"
    is_varied = min(len(np.unique(column)), len(np.unique(target))) >= FEWEST_VALUES
    if is_varied and (_rise_together(column, target) or _rise_together(column, -target)):
        return "monotone"
    return None


def _class_leak(column: Array, classes: Array) -> How | None:
    names, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    is_frequent = counts[numbers] >= FEWEST_OF_A_CLASS
    present = int((counts >= FEWEST_OF_A_CLASS).sum())
    if present < 2 or is_frequent.sum() < FEWEST_SAMPLES:
        return None
    column, numbers = column[is_frequent], numbers[is_frequent]
    if np.array_equal(column, names[numbers]):
        return "equal"
    # For nearly every column, a few samples rule out all of these.
    if not _is_pure(column[:QUICK_LOOK], numbers[:QUICK_LOOK]) and len(np.unique(column[:QUICK_LOOK])) > 2:
        return None
    values, codes = np.unique(column, return_inverse=True)
    if _is_pure(column, numbers):
        if len(values) == present:
            return "one-to-one"
        ordered = numbers[np.argsort(column, kind="stable")]
        if np.count_nonzero(np.diff(ordered)) == present - 1:
            return "separates"
        if len(values) * SAMPLES_PER_VALUE <= len(column):
            return "determines"
    # Each class always has the same one of two values, as in a column of a one-hot code.
    if present > 2 and len(values) == 2 and _is_pure(numbers, codes):
        return "indicator"
    return None


def _is_pure(column: Array, numbers: Array) -> bool:
    """Whether no value of the column occurs with two different numbers."""
    order = np.lexsort((numbers, column))
    same_value = np.diff(column[order]) == 0
    return not np.any(same_value & (np.diff(numbers[order]) != 0))


def _rise_together(column: Array, target: Array) -> bool:
    for some in (slice(QUICK_LOOK), slice(None)):
        order = np.lexsort((target[some], column[some]))
        if np.any(np.diff(target[some][order]) < 0):
            return False
    return True


def _correlation(first: Array, second: Array) -> float:
    first = first.astype(np.float64) - first.mean(dtype=np.float64)
    second = second.astype(np.float64) - second.mean(dtype=np.float64)
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm > 0 else 0.0


def fingerprints(inputs: Mapping[str, Array]) -> list[bytes]:
    """A key for each sample: equal for samples whose inputs are all equal, and for no others."""
    arrays = [np.ascontiguousarray(array.reshape(len(array), -1)) for array in inputs.values()]
    # -0.0 equals 0.0
    arrays = [array + 0.0 if np.issubdtype(array.dtype, np.floating) else array for array in arrays]
    return [
        hashlib.blake2b(b"".join(row.tobytes() for row in rows), digest_size=16).digest()
        for rows in zip(*arrays, strict=True)
    ]


def shared(first: Sequence[bytes], second: Sequence[bytes]) -> int:
    """How many samples of the second are also in the first."""
    known = set(first)
    return sum(key in known for key in second)


def repeated(keys: Sequence[bytes]) -> int:
    """How many samples are copies of an earlier one."""
    return len(keys) - len(set(keys))


def contradictions(keys: Sequence[bytes], targets: Array) -> int:
    """How many samples have a duplicate with another target."""
    by_key: dict[bytes, set[bytes]] = {}
    for key, target in zip(keys, targets, strict=True):
        by_key.setdefault(key, set()).add(target.tobytes())
    counts = Counter(keys)
    return sum(counts[key] for key, targets_of_key in by_key.items() if len(targets_of_key) > 1)


def constant_columns(columns: Array) -> list[int]:
    """Columns with a single value, not counting missing ones."""
    with np.errstate(invalid="ignore"):
        finite = np.where(np.isfinite(columns), columns, np.nan)
        is_known = np.isfinite(finite).any(axis=0)
        least = np.where(is_known, np.fmin.reduce(finite, axis=0), 0.0)
        most = np.where(is_known, np.fmax.reduce(finite, axis=0), 0.0)
    return [int(column) for column in np.flatnonzero(least == most)]


def imbalance(counts: Sequence[int]) -> float:
    """The ratio of the most frequent class to the rarest that occurs; 1 if there are none."""
    present = [count for count in counts if count]
    return max(present) / min(present) if present else 1.0


def absent(counts: Sequence[int]) -> list[int]:
    """Numbers of the classes without a sample."""
    return [number for number, count in enumerate(counts) if not count]


def outside(train: Array, other: Array) -> float:
    """The share of the other part's values (samples, values) that lie outside the range of the training part's."""
    train, other = train.reshape(len(train), -1), other.reshape(len(other), -1)
    if not len(train) or not len(other):
        return 0.0
    beyond = (other < np.nanmin(train, axis=0)) | (other > np.nanmax(train, axis=0))
    return float(beyond.mean())
