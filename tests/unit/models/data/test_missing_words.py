"""Texts such as None and NA: asked about where they may be a class or a group, missing where they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.data.missing_words import without_words, words_in
from models.data.standalone.words import WORDS
from models.data.table import Table


def table(folder: Path, columns: dict[str, list[Any]], **arguments: Any) -> Table:
    path = folder / "t.csv"
    pd.DataFrame({"x": range(len(next(iter(columns.values())))), **columns}).to_csv(path, index=False)
    data = Table(**({"source": str(path), "target": "y"} | arguments))
    data.setup(None)
    return data


@pytest.mark.parametrize("word", ["None", "NA", "N/A", "null", "nan", "n/a", "NULL"])
def test_a_class_named_like_a_missing_value_is_asked_about(tmp_path: Path, word: str) -> None:
    with pytest.raises(ValueError, match=r"^Table: ") as caught:
        table(tmp_path, {"y": [word, "low", "high"] * 20})
    said = str(caught.value)
    assert f"the target 'y' holds '{word}' in 20 of 60 rows: a class, or missing?" in said
    assert f'{{present_values: "{word}"}}' in said
    assert f'{{missing_values: "?,{word}"}}' in said


def test_a_word_declared_as_a_class_is_one_and_declared_as_missing_is_left_out(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"y": ["None", "low", "high"] * 20}
    assert table(tmp_path, columns, present_values="None").class_names == ("None", "high", "low")
    with pytest.warns(UserWarning, match="20 of 60 rows have no target, 'y': left out"):
        assert table(tmp_path, columns, missing_values="?,None").class_names == ("high", "low")


def test_several_words_are_named_at_once_beside_those_declared_before(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"y": ["None", "NA", "null", "low"] * 15}
    with pytest.raises(ValueError, match="holds 'NA', 'null' in 30 of 60 rows: classes, or missing") as caught:
        table(tmp_path, columns, present_values="None")
    caught.match('present_values: "None,NA,null"')
    assert len(table(tmp_path, columns, present_values="None,NA,null").class_names) == 4


def test_a_word_among_numbered_classes_is_asked_about(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"y": ["0", "1", "2", "NA"] * 15}
    with pytest.raises(ValueError, match="the target 'y' holds 'NA' in 15 of 60 rows: a class, or missing"):
        table(tmp_path, columns)
    assert table(tmp_path, columns, present_values="NA").class_names == ("0", "1", "2", "NA")


def test_a_word_among_values_is_a_missing_value(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="2 of 60 rows have no target"):
        assert table(tmp_path, {"y": ["NA", "nan", *[row / 7 for row in range(58)]]}).task == "regression"


def test_an_empty_field_is_missing_without_a_question(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="20 of 60 rows have no target"):
        assert table(tmp_path, {"y": ["", "low", "high"] * 20}).class_names == ("high", "low")


def test_a_group_named_like_a_missing_value_is_asked_about(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"g": ["NA", "EU", "AS", "AF", "SA"] * 12, "y": [row / 7 for row in range(60)]}
    with pytest.raises(ValueError, match="the group column 'g' holds 'NA' in 12 of 60 rows: a group, or missing"):
        table(tmp_path, columns, group="g")
    data = table(tmp_path, columns, group="g", present_values="NA")
    assert [len(rows) for rows in data.rows] == [36, 12, 12]


def test_a_word_in_an_input_is_the_category_of_missing_values_unless_it_is_declared(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"c": ["NA", "", "a", "b"] * 15, "y": [row / 7 for row in range(60)]}
    assert table(tmp_path, columns).cardinalities == (4,)  # unknown, missing, a, b
    assert table(tmp_path, columns, present_values="NA").cardinalities == (5,)


def test_a_parquet_file_marks_missing_values_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    texts = {"c": ["NA", None, "a", "b"] * 15, "y": ["None", "low", "high"] * 20}
    pd.DataFrame({"x": range(60), **texts}).to_parquet(path)
    data = Table(str(path), target="y")
    data.setup("fit")
    assert data.class_names == ("None", "high", "low")
    assert data.cardinalities == (5,)  # unknown, missing, NA, a, b


def test_words_are_counted_in_columns_of_text_only() -> None:
    assert words_in(pd.Series(["NA", "a", "NA", "None", None])) == {"NA": 2, "None": 1}
    assert words_in(pd.Series(["NA", "a"]), present=["NA"]) == {}
    assert words_in(pd.Series([1.0, float("nan")])) == {}


def test_the_words_are_those_that_pandas_takes_for_missing(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("\n".join(["w", *sorted(WORDS), "other"]))
    assert pd.read_csv(tmp_path / "w.csv")["w"].isna().sum() == len(WORDS)
    kept = without_words(pd.DataFrame({"w": sorted(WORDS)}), present=["NA"])
    assert kept["w"].dropna().tolist() == ["NA"]
