"""The inspection of data before a search: its checks, the detected kind of samples, and the bins of histograms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from hpo.training.inspection.checks import (
    absent,
    constant_columns,
    contradictions,
    fingerprints,
    imbalance,
    leaks,
    outside,
    repeated,
    shared,
)
from hpo.training.inspection.findings import findings_of
from hpo.training.inspection.layout import layout_of
from hpo.training.inspection.samples import Array, DataError, Samples, parts_of, read_part
from hpo.training.inspection.series import in_own_unit
from hpo.training.inspection.style import bins_of

NOISE = np.random.default_rng(0).normal(size=(200, 6))
VALUES = NOISE[:, 0] * 3 + 1
CLASSES = np.arange(200) % 4


def how(column: Array, target: Array, *, are_classes: bool) -> list[str]:
    columns = np.stack([NOISE[:, 4], column], axis=1)
    found = leaks(columns, target, are_classes=are_classes)
    assert all(leak.column == 1 for leak in found)
    return [leak.how for leak in found]


# ---- leaks


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (VALUES, ["equal"]),
        (VALUES.astype(np.float32) * -7 + 2, ["linear"]),
        (np.exp(VALUES), ["monotone"]),
        (-(VALUES**3), ["monotone"]),
        (np.floor(VALUES), ["monotone"]),  # what is left of it when it is rounded
        (VALUES + 0.3 * NOISE[:, 1], []),
        (VALUES**2, []),
        (np.full(200, 3.0), []),
        (VALUES > 0, []),  # half of all columns split a target in two
    ],
)
def test_a_column_leaks_a_value_when_it_is_a_rising_or_falling_function_of_it(
    column: Array, expected: list[str]
) -> None:
    assert how(column, VALUES, are_classes=False) == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (CLASSES, ["equal"]),
        (CLASSES * 2.5 - 1, ["one-to-one"]),
        (np.array([7, 3, 9, 1])[CLASSES], ["one-to-one"]),
        (CLASSES * 10 + NOISE[:, 1].clip(-3, 3), ["separates"]),
        (np.array([0, 1, 2, 3])[CLASSES] + 4 * (np.arange(200) // 100), ["determines"]),
        (CLASSES == 2, ["indicator"]),
        (CLASSES + NOISE[:, 1], []),
        (NOISE[:, 1], []),
        (np.arange(200), []),  # a row's number is new in each row
        (np.zeros(200), []),
    ],
)
def test_a_column_leaks_the_class_when_it_alone_determines_it(column: Array, expected: list[str]) -> None:
    assert how(column.astype(np.float64), CLASSES, are_classes=True) == expected


def test_every_value_of_a_forecast_is_compared_with_every_column() -> None:
    targets = NOISE[:, :2]
    columns = np.stack([NOISE[:, 3], NOISE[:, 1] * 2], axis=1)

    [found] = leaks(columns, targets, are_classes=False)

    assert (found.column, found.target, found.how) == (1, 1, "linear")


def test_missing_values_hide_no_leak() -> None:
    column = VALUES.copy()
    column[::7] = np.nan

    assert how(column, VALUES, are_classes=False) == ["equal"]


def test_few_samples_prove_no_leak() -> None:
    assert leaks(VALUES[:20, None], VALUES[:20], are_classes=False) == []


def test_a_class_of_few_samples_is_no_proof_that_a_column_separates() -> None:
    classes = (np.arange(200) == 0).astype(int)
    column = NOISE[:, 1].copy()
    column[0] = 100

    assert how(column, classes, are_classes=True) == []


# ---- duplicates, constant columns, classes


def test_samples_are_the_same_when_all_their_inputs_are() -> None:
    train = {"numbers": np.array([[1.0, 0.0], [1.0, 2.0], [1.0, 0.0]]), "codes": np.array([[1], [1], [1]])}
    other = {"numbers": np.array([[1.0, -0.0], [1.0, 2.0], [5.0, 5.0]]), "codes": np.array([[1], [2], [1]])}

    keys, others = fingerprints(train), fingerprints(other)

    assert shared(keys, others) == 1
    assert repeated(keys) == 1


def test_twins_with_different_targets_contradict_each_other() -> None:
    keys = [b"a", b"b", b"a", b"c", b"c"]

    assert contradictions(keys, np.array([0, 1, 1, 2, 2])) == 2


def test_a_column_is_constant_when_all_its_known_values_are_one() -> None:
    columns = np.array([[1.0, 1.0, np.nan, np.nan], [1.0, 2.0, 3.0, np.nan], [1.0, 1.0, 3.0, np.nan]])

    assert constant_columns(columns) == [0, 2, 3]


def test_imbalance_is_the_most_frequent_class_over_the_rarest_that_is_there() -> None:
    assert imbalance([90, 0, 3, 7]) == 30
    assert imbalance([]) == 1
    assert absent([90, 0, 3, 0]) == [1, 3]


def test_outside_is_the_share_beyond_the_range_of_training() -> None:
    assert outside(np.array([1.0, 5.0]), np.array([0.0, 2.0, 5.0, 9.0])) == 0.5


# ---- reading anybody's loaders


class Module(SimpleNamespace):
    """Anything with loaders."""

    def train_dataloader(self) -> Any:
        return self.loaders[0]

    def val_dataloader(self) -> Any:
        return self.loaders[1]


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield torch.zeros(100, 3), torch.ones(100)


def only(loader: Any) -> Samples:
    return read_part(loader, "train")


X, Y = torch.arange(24.0).reshape(8, 3), torch.arange(8) % 2


def test_batches_of_any_form_are_taken_apart() -> None:
    pair = only(DataLoader(TensorDataset(X, Y), 3))
    named = only([{"x": X[:3], "label": Y[:3]}, {"x": X[3:], "label": Y[3:]}])
    alone = only(DataLoader(TensorDataset(X), 3))
    three = only(DataLoader(TensorDataset(X, X[:, 0], Y), 3))

    assert [list(part.inputs) for part in (pair, named, alone, three)] == [
        ["input"], ["x"], ["input"], ["input 1", "input 2"]
    ]  # fmt: skip
    assert alone.targets is None
    for part in (pair, named, three):
        np.testing.assert_array_equal(part.targets, Y)
    assert (pair.seen, pair.total, pair.batches, pair.is_whole) == (8, 8, 3, True)


def test_packed_sequences_have_their_lengths() -> None:
    batch = pack_sequence([torch.ones(4, 2), torch.ones(3, 2)])

    part = only([(batch, torch.tensor([0, 1]))])

    assert part.inputs["sequences"].shape == (2, 4, 2)
    np.testing.assert_array_equal(part.inputs["lengths"], [4, 3])


def test_batches_that_are_padded_to_lengths_of_their_own_are_joined() -> None:
    part = only([(torch.ones(2, 5, 1), torch.zeros(2)), (torch.ones(3, 7, 1), torch.zeros(3))])

    assert part.inputs["input"].shape == (5, 7, 1)


def test_an_endless_loader_is_left_in_time() -> None:
    part = only(DataLoader(Endless(), batch_size=None))

    assert 100 <= part.seen <= 100_000
    assert (part.total, part.is_whole) == (None, False)


def test_batches_without_tensors_are_named() -> None:
    part = only([(torch.ones(2, 3), {"boxes": torch.ones(2)})])

    assert part.targets is None
    assert part.remarks == ("the targets of a batch are a dict of 1 Tensor, which is not described",)
    with pytest.raises(DataError, match="train part's batches hold no tensor: a batch is a list of 2 str"):
        only([["a", "b"]])
    with pytest.raises(DataError, match="gives no batches"):
        only([])


def test_several_validation_loaders_are_parts_of_their_own() -> None:
    loader = DataLoader(TensorDataset(X, Y), 4)

    assert [part.part for part in parts_of(Module(loaders=(loader, [loader, loader])))] == [
        "train", "validation 1", "validation 2"
    ]  # fmt: skip
    assert [part.part for part in parts_of(Module(loaders=(loader, None)))] == ["train"]


# ---- what samples are taken for


def samples(inputs: Any, targets: Any = None, part: str = "train") -> Samples:
    named = inputs if isinstance(inputs, dict) else {"input": np.asarray(inputs)}
    count = len(next(iter(named.values())))
    return Samples(part, named, None if targets is None else np.asarray(targets), count, 1)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((5,), "table"),
        ((), "table"),
        ((1, 8, 8), "images"),
        ((32, 24, 3), "images"),
        ((28, 28), "images"),
        ((30, 12), "sequences"),
        ((2, 3, 4, 5), "arrays"),
        ((7, 9, 11), "arrays"),
    ],
)
def test_the_kind_of_samples_follows_from_their_shape(shape: tuple[int, ...], kind: str) -> None:
    assert layout_of(object(), [samples(np.zeros((4, *shape), np.float32))]).kind == kind


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (None, "none"),
        ([0, 1, 0, 1], "binary"),
        ([0.0, 1.0, 1.0, 0.0], "binary"),
        ([0, 1, 2, 1], "multiclass"),
        ([0.5, 1.0, 1.0, 0.0], "regression"),
        ([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]], "regression"),
    ],
)
def test_the_task_follows_from_the_targets_where_the_module_has_none(targets: Any, task: str) -> None:
    part = samples(np.zeros((4, 2)), targets)

    assert layout_of(object(), [part]).task == task
    assert layout_of(SimpleNamespace(task="regression"), [part]).task == ("none" if targets is None else "regression")


def test_a_table_s_categories_follow_its_numbers() -> None:
    part = samples({"input 1": np.zeros((4, 2), np.float32), "input 2": np.array([[3], [1], [0], [2]])}, [0, 1, 0, 1])
    layout = layout_of(SimpleNamespace(feature_names=["age", "income", "town"]), [part])

    assert layout.features == ("age", "income", "town")
    assert layout.columns(part)[:, 2].tolist() == [3, 1, 0, 2]


def test_only_the_steps_within_a_length_count() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    part = samples({"x": x, "n": np.array([1, 3])}, [[1, -100, -100], [0, 1, 0]])
    layout = layout_of(object(), [part])

    assert layout.is_per_step
    assert layout.steps(part).tolist() == [[0, 1], [6, 7], [8, 9], [10, 11]]
    assert layout.class_numbers(part).tolist() == [1, 0, 1, 0]


def test_targets_are_described_in_the_data_s_own_unit() -> None:
    part = samples(np.zeros((2, 1)), np.array([[0.0, 1.0], [-1.0, 2.0]], np.float32))
    data = SimpleNamespace(target_mean=(10.0, 100.0), target_scale=(2.0, 5.0))

    [changed] = in_own_unit(data, [part])

    assert changed.targets is not None
    assert changed.targets.tolist() == [[10, 105], [8, 110]]


# ---- warnings


def warned(parts: list[Samples], **attributes: Any) -> dict[str, str]:
    found = findings_of(layout_of(SimpleNamespace(**attributes), parts), parts)
    assert len({finding.kind for finding in found}) == len(found)
    return dict(found)


def test_clean_data_is_suspicious_of_nothing() -> None:
    parts = [samples(NOISE[:100], CLASSES[:100]), samples(NOISE[100:], CLASSES[100:], "validation")]

    assert warned(parts) == {}


def test_problems_are_reported_by_the_names_of_columns_and_classes() -> None:
    columns = NOISE.copy()
    columns[:, 2] = 5
    classes = (np.arange(200) % 20 == 0).astype(int)
    columns[:, 3] = classes
    columns[150:] = columns[:50]
    parts = [
        samples(columns[:140], classes[:140]),
        samples(columns[150:], np.zeros(50, int), "validation"),
    ]

    found = warned(parts, feature_names=["a", "b", "stuck", "twin", "e", "f"], class_names=("no", "yes"))

    assert found["leak"] == "a leak? column 'twin' is the same as the target"
    assert found["constant"].startswith("column 'stuck' has one value in all of train")
    assert found["duplicates across parts"].startswith("50 of 50 samples (100.0%) of validation are also in train")
    assert found["missing classes"] == "validation: no sample of class 'yes'"
    assert "class 'no' is 19 times as frequent as 'yes'; predicting always 'no' is right in 95%" in found["imbalance"]


def test_values_that_are_not_finite_are_counted_with_their_columns() -> None:
    columns = NOISE.copy()
    columns[:3, 1], columns[5, 4] = np.nan, -np.inf

    found = warned([samples(columns, VALUES)])

    assert found["non-finite"] == (
        "train: 3 missing (NaN) and 1 infinite values in the inputs, columns 'feature 2' and 'feature 5'"
    )


def test_a_series_that_leaves_its_range_is_reported() -> None:
    steps = np.arange(120.0)
    parts = [samples(NOISE[:80], steps[:80]), samples(NOISE[80:120], steps[80:], "validation")]

    assert "100% of the targets of validation are outside the range" in warned(parts)["other range"]


def test_inputs_that_are_their_own_targets_leak_nothing() -> None:
    parts = [samples(NOISE.astype(np.float32), NOISE.astype(np.float32))]

    assert warned(parts) == {}
    assert layout_of(object(), parts).is_reconstruction


# ---- bins


def test_few_whole_numbers_have_a_bar_each() -> None:
    assert bins_of(np.array([0, 3, 1, 1])).tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]  # type: ignore[union-attr]


def test_rounded_values_fill_their_bins_evenly() -> None:
    values = (np.arange(1000) % 45) / 10

    edges = bins_of(values.astype(np.float32))

    assert edges is not None
    counts = np.histogram(values, edges)[0]
    assert np.ptp(counts[:-1]) < 0.1 * counts[:-1].mean()


def test_values_that_are_all_the_same_or_missing_have_bins_too() -> None:
    assert bins_of(np.full(5, 1e12)) is not None
    assert bins_of(np.full(5, 0.123)) is not None
    assert bins_of(np.full(5, np.nan)) is None
