"""The conversion of a table's columns, checked with hand-made numbers."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_series_equal
from sklearn.preprocessing import QuantileTransformer

from models.data.columns import Columns, usable
from models.data.kinds import typed
from models.data.scaling import Scaling

NONE = float("nan")


def fitted(train: dict[str, Any], **options: Any) -> Columns:
    frame = typed(pd.DataFrame(train))
    used = usable(frame, drop_constant=options.get("drop_constant", True), most_categories=100)
    return Columns(**({"scaling": "none"} | options)).fit(frame, used)


def numbers(columns: Columns, rows: dict[str, Any]) -> dict[str, list[float]]:
    found = columns.numbers(typed(pd.DataFrame(rows)))
    assert found.dtype == np.float32
    return {name: found[:, i].tolist() for i, name in enumerate(columns.names)}


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("none", [1.0, 7.0]),
        ("standard", [(1 - 4) / math.sqrt(26 / 3), (7 - 4) / math.sqrt(26 / 3)]),
        ("robust", [(1 - 4) / 3.5, (7 - 4) / 3.5]),  # median 4, quartiles 2.5 and 6 of 1, 4, 8
        ("min_max", [0.0, 6 / 7]),
    ],
)
def test_each_scaling_is_the_one_named(scaling: str, expected: list[float]) -> None:
    columns = fitted({"x": [1.0, 4.0, 8.0]}, scaling=scaling)
    mean = 13 / 3
    if scaling == "standard":
        deviation = math.sqrt(((1 - mean) ** 2 + (4 - mean) ** 2 + (8 - mean) ** 2) / 3)
        expected = [(1 - mean) / deviation, (7 - mean) / deviation]
    assert numbers(columns, {"x": [1.0, 7.0]})["x"] == pytest.approx(expected)


def test_quantile_scaling_keeps_the_order_and_tames_outliers() -> None:
    columns = fitted({"x": [*range(100), 1e12]}, scaling="quantile")
    small, middle, large = numbers(columns, {"x": [-5.0, 50.0, 1e15]})["x"]
    end = NormalDist().inv_cdf(0.5 / 101)
    assert (small, middle, large) == pytest.approx((end, 0, -end), abs=1e-5)


def test_quantile_scaling_gives_equal_numbers_the_middle_of_their_ranks() -> None:
    columns = fitted({"x": [0.0, 0, 0, 1, 1, 1, 1, 1], "y": [1.0, 2, 2, 2, 2, 2, 2, 3]}, scaling="quantile")
    x, y = numbers(columns, {"x": [0.0, 1, 9], "y": [2.0, 1, 2.5]}).values()
    assert x == pytest.approx([NormalDist().inv_cdf(rank) for rank in (1 / 7, 5 / 7, 5 / 7)])
    assert y[0] == pytest.approx(0)
    assert NormalDist().inv_cdf(0.5 / 8) == pytest.approx(y[1])
    assert 0 < y[2] < -y[1]


def test_quantiles_of_an_earlier_release_are_scaled_as_they_were() -> None:
    values = np.array([[1.0, 0.0], [2.0, 0.0], [5.0, 1.0], [9.0, 1.0]])
    theirs = QuantileTransformer(n_quantiles=4, output_distribution="normal").fit(values)
    kept = Scaling("quantile", {"quantiles": theirs.quantiles_, "references": theirs.references_})
    new = np.array([[0.0, 0.0], [1.5, 1.0], [10.0, 0.5]])
    np.testing.assert_array_equal(kept(new), theirs.transform(new))


@pytest.mark.parametrize(("missing", "expected"), [("median", 2.0), ("mean", 4.0), ("drop", 2.0), ("indicator", 2.0)])
def test_a_missing_number_is_filled_in_from_the_training_part(missing: str, expected: float) -> None:
    columns = fitted({"x": [1.0, 2.0, 9.0, NONE]}, missing=missing)
    assert numbers(columns, {"x": [NONE, 5.0]})["x"] == [expected, 5.0]


def test_an_indicator_marks_missing_numbers() -> None:
    columns = fitted({"x": [1.0, 2.0, NONE], "complete": [1.0, 5.0, 3.0]}, missing="indicator")
    found = numbers(columns, {"x": [NONE, 5.0], "complete": [NONE, 1.0]})
    assert found == {"x": [1.5, 5.0], "complete": [3.0, 1.0], "no x": [1.0, 0.0]}


def test_a_category_is_a_class_number_and_one_unknown_to_training_is_0() -> None:
    columns = fitted({"c": ["b", "a", "b", "a", "seldom"]})
    assert columns.cardinalities == (3,)
    codes = columns.categories(typed(pd.DataFrame({"c": ["a", "b", "seldom", "new", None]})))
    assert codes[:, 0].tolist() == [1, 2, 0, 0, 0]
    assert codes.dtype == np.int64


def test_a_missing_category_is_a_category() -> None:
    columns = fitted({"c": ["b", "b", None, None]})
    assert columns.cardinalities == (3,)
    assert columns.categories(typed(pd.DataFrame({"c": ["b", None]})))[:, 0].tolist() == [2, 1]


def test_one_hot_categories_are_numbers() -> None:
    columns = fitted({"c": ["b", "a", "b", "a"]}, categories="one_hot")
    assert columns.cardinalities == ()
    assert numbers(columns, {"c": ["a", "b", "new"]}) == {"c is a": [1, 0, 0], "c is b": [0, 1, 0]}


def test_a_date_becomes_numbers() -> None:
    columns = fitted({"d": ["2024-12-31", "2025-01-02"]})
    found = numbers(columns, {"d": ["2026-07-02"]})
    angle = 2 * math.pi * 182 / 365.25
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {
            "d year": 2026,
            "d month": 7,
            "d weekday": 3,  # a Thursday
            "d season sine": math.sin(angle),
            "d season cosine": math.cos(angle),
            "d days": 548,
        },
        abs=1e-6,
    )


def test_a_time_of_the_day_becomes_two_more() -> None:
    columns = fitted({"d": ["2024-12-31 06:00", "2025-01-02 18:00"]})
    found = numbers(columns, {"d": ["2026-07-02 06:00"]})
    assert found["d hour sine"] == pytest.approx([1.0])
    assert "d hour cosine" not in found  # 0 at 6 and at 18, so it tells nothing here


def test_a_missing_date_is_filled_in() -> None:
    columns = fitted({"d": ["2024-01-01", "2025-01-01", "2026-01-01", None]})
    assert numbers(columns, {"d": [None, "2031-01-01"]})["d year"] == [2025, 2031]


def test_a_constant_column_is_left_out_or_stays() -> None:
    train = {"x": [1.0, 2.0], "same": [3.0, 3.0], "word": ["a", "a"]}
    assert fitted(train).names == ("x",)
    assert fitted(train, drop_constant=False).names == ("x", "same")
    assert fitted(train, drop_constant=False).cardinalities == (2,)


def test_a_near_duplicate_of_an_earlier_column_is_left_out() -> None:
    x = np.arange(50.0)
    train = {"x": x, "minus": -x + np.sin(x) / 100, "other": np.cos(x)}
    assert fitted(train).names == ("x", "minus", "other")
    assert fitted(train, most_correlation=0.99).names == ("x", "other")


def test_nothing_becomes_infinite() -> None:
    columns = fitted({"x": [0.0, 1e-30]}, scaling="min_max")
    assert np.isfinite(numbers(columns, {"x": [1e38]})["x"]).all()
    with pytest.warns(UserWarning, match="'x' has 1 infinite value: treated as missing"):
        assert np.isfinite(numbers(columns, {"x": [1e300]})["x"]).all()


def test_a_column_without_a_value_is_left_out_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="'x' is left out: it has no value in the training part"):
        used = usable(typed(pd.DataFrame({"x": [NONE, NONE], "y": [1, 2]})), drop_constant=True, most_categories=9)
    assert used == ["y"]


def test_a_column_of_names_is_left_out_with_a_warning() -> None:
    frame = typed(pd.DataFrame({"x": range(60), "name": [f"Ada {i // 2}" for i in range(60)]}))
    with pytest.warns(UserWarning, match=r"'name' is left out: it has 30 different texts in 60 rows.*categories: 30"):
        assert usable(frame, drop_constant=True, most_categories=29) == ["x"]
    assert usable(frame, drop_constant=True, most_categories=30) == ["x", "name"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [1.0, 2.0]),
        ([True, False], [1.0, 0.0]),
        ([True, None], [1.0, NONE]),
        (["1", " 2.5"], [1.0, 2.5]),
        ([None, None], [NONE, NONE]),
    ],
)
def test_numbers_are_recognised(values: list[Any], expected: list[float]) -> None:
    assert_series_equal(typed(pd.DataFrame({"x": values}))["x"], pd.Series(expected), check_names=False)


@pytest.mark.parametrize(
    "values",
    [
        ["2025-12-31", "2025-01-02"],
        ["2025/12/31", "2025/1/2"],
        ["31.12.2025", "2.1.2025"],
        ["31/12/2025", "2/1/2025"],
        ["12/31/2025", "1/2/2025"],
        ["2025-12-31T01:00:00+01:00", "2025-01-02T00:00:00Z"],
    ],
)
def test_dates_are_recognised(values: list[str]) -> None:
    dates = typed(pd.DataFrame({"x": values}))["x"]
    assert dates.tolist() == [pd.Timestamp(2025, 12, 31), pd.Timestamp(2025, 1, 2)]


def test_numbers_may_be_names_of_categories() -> None:
    frame = typed(pd.DataFrame({"zip": [8001.0, 3012.0, NONE]}), categorical=["zip"])
    assert frame["zip"].tolist()[:2] == ["8001", "3012"]
    assert frame["zip"].isna().tolist() == [False, False, True]


def test_infinite_values_count_as_missing_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="column 'x' has 2 infinite values: treated as missing"):
        frame = typed(pd.DataFrame({"x": [1.0, np.inf, -np.inf]}))
    assert frame["x"].isna().tolist() == [False, True, True]
