"""Splits: every row in one part, the same by the same seed, and nothing shared that a split should keep apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.splits import Rows, check_fractions, grouped_split, random_split, stratified_split, time_split

FRACTIONS = st.tuples(st.floats(0.05, 0.45), st.floats(0, 0.45))
LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(lambda labels: np.array(labels, dtype=np.int64))
SEEDS = st.integers(0, 5)


def all_rows(rows: Rows) -> list[int]:
    return sorted(np.concatenate(rows).tolist())


@settings(deadline=None)
@given(LABELS, FRACTIONS, SEEDS)
def test_every_row_is_in_one_part(labels: np.ndarray, fractions: tuple[float, float], seed: int) -> None:
    expected = list(range(len(labels)))
    assert all_rows(random_split(len(labels), *fractions, seed=seed)) == expected
    assert all_rows(stratified_split(labels, *fractions, seed=seed)) == expected
    assert all_rows(grouped_split(labels, *fractions, seed=seed)) == expected
    assert all_rows(time_split(len(labels), *fractions)) == expected


@settings(deadline=None)
@given(LABELS, FRACTIONS, SEEDS)
def test_a_class_has_its_fraction_in_each_part(labels: np.ndarray, fractions: tuple[float, float], seed: int) -> None:
    rows = stratified_split(labels, *fractions, seed=seed)
    for label, count in Counter(labels.tolist()).items():
        assert np.count_nonzero(labels[rows.validation] == label) == round(count * fractions[0])
        assert np.count_nonzero(labels[rows.test] == label) == round(count * fractions[1])


@settings(deadline=None)
@given(LABELS, FRACTIONS, SEEDS)
def test_a_group_is_in_one_part_only(groups: np.ndarray, fractions: tuple[float, float], seed: int) -> None:
    train, validation, test = (set(groups[part].tolist()) for part in grouped_split(groups, *fractions, seed=seed))
    assert not train & validation
    assert not (train | validation) & test


def test_groups_may_have_any_numbers() -> None:
    rows = grouped_split(np.array([70, -3, 70, 500, -3, 9]), 0.25, 0.25, seed=0)
    assert sorted(len(part) for part in rows) in ([1, 1, 4], [1, 2, 3])


@settings(deadline=None)
@given(st.integers(1, 80), FRACTIONS)
def test_the_future_is_never_before_the_past(samples: int, fractions: tuple[float, float]) -> None:
    rows = time_split(samples, *fractions)
    assert np.concatenate(rows).tolist() == list(range(samples))


@settings(deadline=None)
@given(LABELS, FRACTIONS, SEEDS)
def test_the_same_seed_gives_the_same_split(labels: np.ndarray, fractions: tuple[float, float], seed: int) -> None:
    first, second = (stratified_split(labels, *fractions, seed=seed) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("split", [random_split, lambda n, *f, seed: grouped_split(np.arange(n), *f, seed=seed)])
def test_another_seed_gives_another_split(split: object) -> None:
    assert callable(split)
    assert not np.array_equal(split(100, 0.2, 0.1, seed=0).test, split(100, 0.2, 0.1, seed=1).test)


@pytest.mark.parametrize("fractions", [(0.0, 0.2), (0.2, -0.1), (0.6, 0.4)])
def test_fractions_that_leave_a_part_empty_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^Wine: .*samples for validation and training"):
        check_fractions(*fractions, who="Wine")
