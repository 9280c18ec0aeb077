"""Tables: the bundled ones are scikit-learn's, tasks are detected, and trials can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets
from torch import Tensor

from models.data.table import Table


def ready(**arguments: Any) -> Table:
    data = Table(**arguments)
    data.setup(None)
    return data


def write(path: Path, **columns: Any) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def gaps(tmp_path: Path) -> str:
    """100 rows: a number with a gap in every fifth row, a category with one in every seventh, and a value."""
    numbers = [row if row % 5 else "" for row in range(100)]
    categories = ["abc"[row % 3] if row % 7 else "" for row in range(100)]
    return write(tmp_path / "gaps.csv", x=numbers, c=categories, y=[row**1.5 for row in range(100)])


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris", "diabetes"])
def test_the_bundled_tables_are_those_of_scikit_learn(name: str) -> None:
    options = {"scaled": False} if name == "diabetes" else {}
    reference = getattr(datasets, f"load_{name}")(**options)
    samples = Table(source=name).read()
    assert list(samples.inputs.columns) == list(map(str, reference.feature_names))
    np.testing.assert_array_equal(samples.inputs.to_numpy(), reference.data)
    if name == "diabetes":
        np.testing.assert_array_equal(samples.targets[:, 0], reference.target)
    else:
        names = Table(source=name)
        names.read()
        np.testing.assert_array_equal(
            np.array(names.class_names)[samples.targets], reference.target_names[reference.target]
        )


@pytest.mark.parametrize(
    ("values", "task", "outputs", "names"),
    [
        ([0, 1], "binary", 1, ("0", "1")),
        (["yes", "no"], "binary", 1, ("no", "yes")),
        (["True", "False"], "binary", 1, ("False", "True")),
        (["low", "high", "middle"], "multiclass", 3, ("high", "low", "middle")),
        ([0.5, 1.5, 2.25], "regression", 1, ()),
        (range(25), "regression", 1, ()),
    ],
)
def test_the_task_is_found_out(values: Any, task: str, outputs: int, names: tuple[str, ...], tmp_path: Path) -> None:
    targets = [list(values)[row % len(values)] for row in range(100)]
    data = ready(source=write(tmp_path / "t.csv", x=range(100), y=targets), target="y")
    assert (data.task, data.outputs, data.class_names) == (task, outputs, names)
    if task != "regression":
        assert sum(data.class_counts) == len(data.rows.train)


@pytest.mark.parametrize(
    ("values", "task", "names", "message"),
    [
        ([-1, 1], "binary", ("-1", "1"), "-1, 1"),
        ([1.0, 2.0], "binary", ("1", "2"), "1, 2"),
        ([3, 5, 10], "multiclass", ("3", "5", "10"), "3, 5, 10"),
        (range(1, 9), "multiclass", tuple("12345678"), "1, 2, 3 ... 8"),
    ],
)
def test_labels_that_do_not_start_at_0_are_numbered_and_reported(
    values: Any, task: str, names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    targets = [list(values)[row % len(values)] for row in range(100)]
    with pytest.warns(UserWarning, match=f"labels of the target 'y' are {message}: classes are numbered from 0"):
        data = ready(source=write(tmp_path / "t.csv", x=range(100), y=targets), target="y")
    assert (data.task, data.class_names) == (task, names)
    assert data.part("train").targets.min() == 0


def test_the_task_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", x=range(100), y=[row % 5 for row in range(100)])
    assert ready(source=path, target="y").task == "multiclass"
    assert ready(source=path, target="y", task="regression").task == "regression"


def test_a_value_is_standardised_by_the_training_part() -> None:
    data = ready(source="diabetes")
    target = Table(source="diabetes").read().targets[:, 0]
    train = target[data.rows.train]
    assert data.target_mean == pytest.approx((train.mean(),))
    assert data.target_scale == pytest.approx((train.std(),))
    expected = (target[data.rows.test] - train.mean()) / train.std()
    np.testing.assert_allclose(data.part("test").targets[:, 0], expected, rtol=1e-5)


def test_bin_edges_are_quantiles_of_the_training_part_alone(tmp_path: Path) -> None:
    data = ready(source="diabetes")
    edges = np.array(data.bin_edges).reshape(data.in_features, -1)
    train = data.part("train").inputs
    assert isinstance(train, torch.Tensor)
    assert edges.shape == (10, 49)
    np.testing.assert_allclose(edges, np.quantile(train, np.linspace(0, 1, 49), axis=0).T, rtol=1e-5, atol=1e-6)
    assert edges.astype(np.float32).ravel().tolist() == pytest.approx(data.bin_edges, rel=1e-7)


def test_bin_edges_are_of_the_numbers_and_not_of_the_categories(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", x=range(40), c=["a", "b"] * 20, y=[row * row for row in range(40)])
    embedded = ready(source=path, target="y", scaling="none")
    assert len(embedded.bin_edges) == len(embedded.part("train").targets)  # fewer rows than bins
    assert embedded.bin_edges[0] == min(embedded.rows.train)
    encoded = ready(source=path, target="y", categories="one_hot")
    assert len(encoded.bin_edges) == 3 * len(embedded.bin_edges)


def test_several_targets_are_predicted_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", x=range(50), y=range(50), z=[-2 * row for row in range(50)])
    data = ready(source=path, target="y, z")
    assert (data.outputs, data.feature_names) == (2, ("x",))
    targets = data.part("train").targets
    torch.testing.assert_close(targets[:, 1], -targets[:, 0])
    assert data.target_scale[1] == pytest.approx(2 * data.target_scale[0])


def test_a_column_may_have_a_comma_in_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", **{"x": range(50), '"y, z"': range(50)})
    assert ready(source=path, target="y, z").outputs == 1


def test_dropping_rows_with_missing_values_leaves_validation_and_test_as_they_are(gaps: str) -> None:
    kept, dropped = ready(source=gaps, target="y"), ready(source=gaps, target="y", missing="drop")
    for part in ("validation", "test"):
        assert torch.equal(kept.part(part).targets, dropped.part(part).targets)
    train = [row for row in kept.rows.train if row % 5 and row % 7]
    assert len(dropped.part("train").targets) == len(train) < len(kept.part("train").targets)


def test_missing_values_in_validation_are_filled_in_from_the_training_rows(gaps: str) -> None:
    data = ready(source=gaps, target="y", missing="drop", scaling="none")
    learned = [row for row in data.rows.train if row % 5 and row % 7]
    numbers, _ = data.part("validation").inputs
    filled = [value for value, row in zip(numbers[:, 0].tolist(), data.rows.validation, strict=True) if row % 5 == 0]
    assert filled
    assert set(filled) == {float(np.median(learned))}


def test_embedded_categories_come_beside_the_numbers_and_one_hot_among_them(gaps: str) -> None:
    inputs = ready(source=gaps, target="y", categories="embedding").part("train").inputs
    assert isinstance(inputs, tuple)
    assert [part.shape[1] for part in inputs] == [1, 1]
    encoded = ready(source=gaps, target="y", categories="one_hot")
    assert isinstance(encoded.part("train").inputs, Tensor)
    assert encoded.feature_names == ("x", "c is (missing)", "c is a", "c is b", "c is c")
    assert encoded.cardinalities == ()


def test_a_table_of_categories_only_has_no_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", c=["ab"[row % 2] for row in range(60)], y=[row % 2 for row in range(60)])
    data = ready(source=path, target="y")
    assert (data.in_features, data.cardinalities) == (0, (3,))
    assert data.part("train").inputs[0].shape == (40, 0)


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    groups = [f"g{row % 12}" for row in range(96)]
    path = write(tmp_path / "t.csv", x=range(96), g=groups, y=[row % 2 for row in range(96)])
    data = ready(source=path, target="y", group="g")
    assert data.feature_names == ("x",)
    parts = [{groups[row] for row in part} for part in data.rows]
    assert [len(part) for part in parts] == [8, 2, 2]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]


@pytest.mark.parametrize("times", [range(60), [f"2025-{1 + row // 28:02}-{1 + row % 28:02}" for row in range(60)]])
def test_the_latest_rows_are_the_test_part(times: Any, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(60)
    when = [list(times)[place] for place in order]
    path = write(tmp_path / "t.csv", t=when, x=order, y=order / 7)
    rows = ready(source=path, target="y", time="t").rows
    assert sorted(order[rows.train]) == list(range(39))
    assert sorted(order[rows.validation]) == list(range(39, 51))
    assert sorted(order[rows.test]) == list(range(51, 60))


def test_ignored_columns_are_not_learned_from() -> None:
    names = ready(source="wine", ignore="proline, hue").feature_names
    assert len(names) == 11
    assert not {"proline", "hue"} & set(names)


def test_classes_have_the_same_share_in_every_part() -> None:
    data = ready(source="breast_cancer")
    shares = [data.part(part).targets.float().mean().item() for part in ("train", "validation", "test")]
    assert shares == pytest.approx([212 / 569] * 3, abs=0.01)
