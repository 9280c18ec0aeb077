"""New rows of a table: what is missing, extra, unreadable or unheard of is counted and told, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.data.columns import Columns
from models.data.dates import order_of, read_in_order
from models.data.kinds import words_as_numbers
from models.data.new_table import NewTable, read_new_table
from models.data.standalone.words import YES_AND_NO
from models.data.table import Table

ROWS = 120
TOWNS = ("Ulm", "Bonn", "Jena")


def trained_rows(**changed: Any) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=ROWS).strftime("%d/%m/%Y")
    return pd.DataFrame(
        {
            "id": [f"n{row}" for row in range(ROWS)],
            "size": generator.normal(50, 9, ROWS).round(1),
            "town": [TOWNS[row % 3] for row in range(ROWS)],
            "day": days,
            "at": [f"{row % 24}:30" for row in range(ROWS)],
            "lift": ["ja" if row % 2 else "nein" for row in range(ROWS)],
            "rent": generator.normal(900, 90, ROWS).round(),
        }
        | changed
    )


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("trained") / "rents.csv"
    trained_rows().to_csv(path, index=False)
    data = Table(str(path), target="rent", task="regression", ignore="id")
    data.setup("fit")
    return data.fitted_state()


def read(state: dict[str, Any], **changed: Any) -> NewTable:
    row = {"id": "x1", "size": 50.0, "town": "Ulm", "day": "05/06/2024", "at": "14:30", "lift": "ja"} | changed
    count = max(len(value) if isinstance(value, list) else 1 for value in row.values())
    whole = {name: value if isinstance(value, list) else [value] * count for name, value in row.items()}
    return read_new_table(
        pd.DataFrame({name: value for name, value in whole.items() if value != [None] * count}), state
    )


def test_a_row_like_those_of_the_training_has_no_remark(state: dict[str, Any]) -> None:
    found = read(state)

    assert found.remarks == []
    assert found.frame["day"][0] == pd.Timestamp("2024-06-05")  # the day first, as in the training, where it may be
    assert (found.frame["size"][0], found.frame["lift"][0]) == (50, 1)
    assert found.frame["at"][0] == pd.Timestamp("1970-01-01 14:30")
    assert {name: list(values) for name, values in found.rows.items()} == {"row": [1], "id": ["x1"]}


@pytest.mark.parametrize(
    ("changed", "remark"),
    [
        (
            {"size": ["x", "40", "1,200.5"]},
            "column 'size': 1 of 3 values are no numbers, such as 'x' in row 1: treated as missing",
        ),
        (
            {"size": [1e300, 40.0]},
            "column 'size': 1 of 2 values are infinite, such as '1e+300' in row 1: treated as missing",
        ),
        (
            {"town": ["Ulm", "Rom", "Rom", "Oslo"]},
            "column 'town': 3 of 4 rows have a category that is not, or only once, in the training part: 'Rom' (2), "
            "'Oslo' (1); the model takes them as unknown",
        ),
        (
            {"day": ["1/2/2024", "soon"]},
            "column 'day': 1 of 2 values are no dates, such as 'soon' in row 2: treated as missing",
        ),
        (
            {"at": ["1:00", "noon"]},
            "column 'at': 1 of 2 values are no times of the day, such as 'noon' in row 2: treated as missing",
        ),
        (
            {"lift": ["maybe", "no"]},
            "column 'lift': 1 of 2 values are no numbers, such as 'maybe' in row 1: treated as",
        ),
        ({"rent": [900.0]}, "the target is in the data and is not used: 'rent'"),
        ({"floor": [3], "view": ["sea"]}, "not known from the training, and not used: 'floor', 'view'"),
        ({"size": [np.nan, np.nan]}, "without a value in any row: 'size'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_odd_is_told_and_the_row_is_kept(state: dict[str, Any], changed: Any, remark: str) -> None:
    found = read(state, **changed)

    assert [text for text in found.remarks if text.startswith(remark)], found.remarks
    assert len(found.frame) == max(map(len, changed.values()))
    assert np.isfinite(Columns.of_state(state["columns"]).numbers(found.frame)).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"size": None, "town": None, "Size": 3},
            r"lacks 2 of the 5 columns.*: 'size' \(did you mean 'Size'\?\); 'town'. It has id, ",
        ),
        ({"size": ["big", "small"]}, "column 'size' holds numbers in the training, and here texts, such as 'big'"),
        (
            {"size": pd.to_datetime(["2024-01-01"]).tolist()},
            "column 'size' holds dates; in the training it held numbers",
        ),
        ({"day": ["soon"]}, "column 'day' holds dates in the training, and here texts, such as 'soon'"),
        ({"at": ["noon"]}, "column 'at' holds times of the day in the training, and here texts"),
        (
            {"day": ["01/02/2024", "12/31/2024"]},
            "column 'day': in the training the day is first, but '12/31/2024' in row 2 has another order",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_would_be_guessed_is_refused(state: dict[str, Any], changed: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(state, **changed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: its first line should hold the column names"),
        ("id,size,town,day,at,lift\n", "has column names, id, size, town, day, at, lift, but no rows"),
        ("id;size;town\n1;2;3\n", "has one column only"),
        ("size,size\n1,2\n", "has several columns named size"),
    ],
)
def test_a_file_that_is_no_table_is_refused(state: dict[str, Any], content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(content)

    with pytest.raises(ValueError, match=message):
        read_new_table(str(tmp_path / "new.csv"), state)


def test_another_kind_of_source_is_refused(state: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_new_table(tmp_path, state)
    with pytest.raises(ValueError, match="should be a file or a data frame, not list"):
        read_new_table([1, 2], state)


def test_the_order_of_dates_is_known_from_the_training_or_from_all_of_the_new_ones() -> None:
    def texts(*values: str) -> pd.Series:
        return pd.Series(list(values), dtype=object, name="day")

    assert order_of(texts("13/01/2024", "01/02/2024")) == "day_first"
    assert order_of(texts("2024-01-02", "2024-04-03")) == ""
    assert order_of(texts("1/2/2024"), "month_first") == "month_first"
    assert read_in_order(texts("1/2/2024", "13/2/2024"), "", who="T")[0] == pd.Timestamp("2024-02-01")
    with pytest.raises(ValueError, match="the order is not known, but '1/2/2024' in row 1 may have another order"):
        read_in_order(texts("1/2/2024"), "", who="T")


def test_no_word_means_yes_in_one_language_and_no_in_another() -> None:
    yes, no = ({word for pair in YES_AND_NO for word in pair[place].split()} for place in (0, 1))

    assert not yes & no
    assert words_as_numbers(pd.Series(["Ja", "non", "maybe"])).fillna(-1).tolist() == [1, 0, -1]


@pytest.mark.parametrize("scaling", ["standard", "robust", "min_max", "quantile", "none"])
@pytest.mark.parametrize("missing", ["median", "mean", "drop", "indicator"])
@pytest.mark.parametrize("categories", ["embedding", "one_hot"])
def test_columns_of_a_state_convert_as_those_that_were_fitted(
    scaling: str, missing: str, categories: str, tmp_path: Path
) -> None:
    sizes = np.random.default_rng(1).normal(50, 9, ROWS).round(1)
    sizes[::11] = np.nan
    trained_rows(size=sizes).to_csv(tmp_path / "rents.csv", index=False)
    options: dict[str, Any] = {"scaling": scaling, "missing": missing, "categories": categories}
    data = Table(str(tmp_path / "rents.csv"), target="rent", task="regression", ignore="id", **options)
    data.setup("fit")
    inputs = data.read().inputs

    restored = Columns.of_state(data.fitted_state()["columns"])

    np.testing.assert_array_equal(restored.numbers(inputs), data._fitted.numbers(inputs))
    np.testing.assert_array_equal(restored.categories(inputs), data._fitted.categories(inputs))
    assert restored.names == data._fitted.names
    assert restored.cardinalities == data.cardinalities
