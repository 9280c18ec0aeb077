"""Problems of users' tables: an error or a counted warning, in the user's words, with column and row."""

from __future__ import annotations

import gzip
import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from models.data.table import Table

GOOD = "x,c,y\n" + "".join(f"{row},{'ab'[row % 2]},{['no', 'yes'][row % 3 // 2]}\n" for row in range(40))


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(text: str | bytes, name: str = "t.csv", **arguments: Any) -> Table:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    data = Table(**({"source": name, "target": "y"} | arguments))
    data.setup("fit")
    return data


def rows(**columns: list[Any]) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"


def numbered(count: int = 40, **columns: list[Any]) -> str:
    """A table with a number and a target of two classes, and what else is given."""
    whole = {"x": list(range(count)), "y": [row % 2 for row in range(count)]} | columns
    return rows(**whole)


def test_correct_tables_log_nothing() -> None:
    data = table(GOOD)
    assert (data.task, data.class_names, data.input_shape, data.cardinalities) == ("binary", ("no", "yes"), (1,), (3,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv is empty: its first line should hold the column names"),
        ("\n\n", r"t\.csv is empty"),
        ("x,y\n", r"t\.csv has column names, x, y, but no rows"),
        (GOOD.replace(",", ";"), r'one column only, \'x;c;y\'.*seems to be a semicolon; give \{separator: ";"\}'),
        (GOOD.replace(",", "\t"), r'seems to be a tab; give \{separator: "\\t"\}'),
        (GOOD.replace("x,c,y", "x,x,y"), r"several columns named x"),
        ("1,2,3\n4,5,6\n", r"its first line should hold the column names, but holds numbers: 1, 2, 3"),
        (GOOD + "1,a,yes,2\n", r"line 42 has 4 fields instead of 3"),
        (GOOD.replace("x,c,y", "x,y").replace("y\n", "y\n", 1), r"more fields than there are column names"),
        (GOOD.replace("x,c,y", "x,c,why"), r"no column 'y' \(target\).* It has x, c, why"),
        (rows(y=[0, 1] * 9), r"no column besides the target, so there is nothing to learn from"),
        (rows(x=[7] * 40, y=[0, 1] * 20), r"no column is left to learn from of x"),
        (numbered(y=["a"] * 39 + ["b"]), r"class 'b' of the target 'y', in row 40, has a single example"),
        (numbered(y=["a"] * 38 + ["b", "c"]), r"class 'b' .*and 1 more class have a single example"),
        (numbered(y=["a"] * 40), r"the target 'y' is a in every row: there is nothing to learn"),
        (numbered(y=[2.5] * 40), r"the target 'y' is 2.5 in every row"),
        (numbered(y=[""] * 40), r"no row has a value of the target 'y'"),
        (numbered(x=[*range(38), "abc", "de"]), r"'x' holds numbers, but 'abc' in row 39, and 1 more such value"),
        (
            numbered(y=[*range(100, 138), "n.k.", "n.k."]),
            r"the target 'y' holds numbers, but 'n.k.' in row 39, and 1 more",
        ),
        (numbered(d=["2025-01-01"] * 39 + ["soon"]), r"column 'd' holds dates, but 'soon' in row 40 is not a date"),
        (
            numbered(d=["01/02/2025", "03/04/2025"] * 20),
            r"is ambiguous: '01/02/2025' and all others may have the day or the month first",
        ),
        (numbered(x=['"1,5"', '"2,5"'] * 20), r'\'x\' has decimal commas, such as \'1,5\': give \{decimal: ","\}'),
        (numbered(4), r"4 rows are too few: .*leave nothing for the validation part"),
    ],
)
def test_an_invalid_table_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^Table: ") as caught:
        table(text)
    caught.match(message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "nowhere.csv",
            r"source 'nowhere.csv' is not a file: .*a path \(here /.*nowhere.csv\), or one of breast_cancer",
        ),
        ("irsi", r"did you mean iris\?"),
        (".", r"source '.' is a folder"),
        ("t.xlsx", r"t.xlsx: it should end in .csv, .tsv, .tab, .parquet, .pq"),
    ],
)
def test_a_source_that_is_none_is_refused(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(GOOD, "t.xlsx", source=source)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": ""}, r"target should name the column to predict: x, c, y"),
        ({"target": "yy"}, r"no column 'yy' \(target\); did you mean 'y'\?"),
        ({"group": "z"}, r"no column 'z' \(group\)"),
        ({"ignore": "x, q"}, r"no column 'q' \(ignore\)"),
        ({"group": "c"}, r"2 groups are too few"),
        ({"time": "c"}, r"time column 'c' holds neither dates nor numbers: 'a'"),
        ({"group": "c", "time": "x"}, r"by group 'c' or by time 'x', not by both"),
        ({"task": "regression"}, r"the target 'y' holds text, such as 'no': a regression needs numbers"),
        ({"task": "ranking"}, r"task 'ranking' should be auto, binary, multiclass, regression"),
        ({"target": "x", "task": "binary"}, r"the target 'x' has 40 classes, 0, 1, .*, but a binary task two"),
        ({"target": "x,y", "task": "binary"}, r"several targets, 'x', 'y', need a regression, not a"),
        ({"target": "x,y"}, r"the target 'y' holds text"),
        ({"target": "x", "task": "multiclass"}, r"a single example.* is it a regression, \{task: regression\}\?"),
        ({"encoding": "utf-9"}, r"encoding 'utf-9' is not known"),
        ({"validation_fraction": 0.9}, r"samples for validation and training"),
    ],
)
def test_arguments_that_do_not_fit_the_table_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^Table: ") as caught:
        table(GOOD, **arguments)
    caught.match(message)


def test_another_encoding_is_recognised_with_its_line() -> None:
    text = numbered(name=["Zoe"] * 20 + ["Zoë"] * 20).encode("latin-1")
    with pytest.raises(ValueError, match=r"line 22 is not in utf-8 \(byte 0xeb\); perhaps \{encoding: latin-1\}"):
        table(text)
    assert table(text, encoding="latin-1").cardinalities == (3,)


def test_utf_16_is_recognised() -> None:
    with pytest.raises(ValueError, match=r"it seems to be utf-16: give \{encoding: utf-16\}"):
        table(GOOD.encode("utf-16"))
    assert table(GOOD.encode("utf-16"), encoding="utf-16").outputs == 1


def test_a_mark_at_the_start_of_the_file_is_no_part_of_a_name() -> None:
    assert table(b"\xef\xbb\xbf" + GOOD.encode()).feature_names == ("x",)


@pytest.mark.parametrize(
    ("text", "arguments", "name"),
    [
        (GOOD.replace(",", "\t"), {}, "t.tsv"),
        (GOOD.replace(",", ";"), {"separator": ";"}, "t.csv"),
        (
            GOOD.replace(",", ";").replace(";", ",5;", 1).replace("x,5", "x"),
            {"separator": ";", "decimal": ","},
            "t.csv",
        ),
        (gzip.compress(GOOD.encode()), {}, "t.csv.gz"),
    ],
)
def test_other_forms_of_text_are_read(text: str | bytes, arguments: dict[str, str], name: str) -> None:
    assert table(text, name, **arguments).feature_names == ("x",)


def test_parquet_gives_the_batches_that_the_same_table_in_text_gives() -> None:
    frame = pd.DataFrame(
        {
            "x": [None if row == 3 else row / 7 for row in range(60)],
            "whole": range(60),
            "name": [None if row == 5 else "abc"[row % 3] for row in range(60)],
            "kind": pd.Categorical(["uv"[row // 2 % 2] for row in range(60)]),
            "flag": [row % 5 == 0 for row in range(60)],
            "day": pd.date_range("2026-01-01", periods=60),
            "y": ["yes" if row % 4 else "no" for row in range(60)],
        }
    )
    frame.to_parquet("t.parquet")
    frame.to_csv("t.csv", index=False)

    parquet, text = Table("t.parquet", target="y"), Table("t.csv", target="y")
    parquet.setup(None)
    text.setup(None)

    assert parquet.feature_names == text.feature_names
    assert parquet.category_names == text.category_names == ("name", "kind")
    for (numbers, codes), (same_numbers, same_codes) in zip(
        *([part.inputs for part in (data.part("train"), data.part("test"))] for data in (parquet, text)), strict=True
    ):
        assert torch.equal(numbers, same_numbers)
        assert torch.equal(codes, same_codes)
    assert torch.equal(parquet.part("train").targets, text.part("train").targets)


def test_a_file_that_is_no_parquet_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"t.parquet cannot be read as Parquet: "):
        table(b"PAR1", "t.parquet")


def test_the_error_without_a_parquet_reader_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install fastparquet"):
        table(b"PAR1", "t.parquet")


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (numbered(y=[0, 1] * 18 + [""] * 4), {}, r"4 of 40 rows have no target, 'y': left out"),
        (
            numbered(y=["inf"] + [row / 7 for row in range(39)]),
            {},
            r"column 'y' has 1 infinite value: treated as missing",
        ),
        (numbered(x=["inf", "-inf", *range(38)]), {}, r"column 'x' has 2 infinite values: treated as missing"),
        (numbered(empty=[""] * 40), {}, r"column 'empty' is left out: it has no value in the training part"),
        (
            numbered(name=[f"n{row % 15}" for row in range(40)]),
            {"most_categories": 9},
            r"'name' is left out: it has 1\d",
        ),
        (",x,y\n" + "".join(f"{row},{row},{row % 2}\n" for row in range(40)), {}, r"1 column has no name: left out"),
        (
            numbered(x=[""] * 30 + [*range(10)]),
            {"missing": "drop"},
            r"drop does nothing: only .* have no missing value",
        ),
        (
            numbered(x=[*range(30), *[""] * 10], y=["a", "b"] * 15 + ["c"] * 10),
            {"missing": "drop"},
            r"drop does nothing: class 'c' has no training row",
        ),
        (numbered(y=["a", "b"] * 15 + ["c"] * 10), {"time": "x"}, r"classes without a training row: c"),
    ],
)
def test_omissions_and_changes_are_logged_as_warnings(text: str, arguments: dict[str, Any], message: str) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        data = table(text, **arguments)
    messages = [str(warning.message) for warning in warned]
    assert any(re.search(message, text) for text in messages), messages
    assert all(text.startswith("Table: ") for text in messages)
    assert len(data.part("train").targets) > 1


def test_a_missing_group_or_time_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match="group column 'g' has 2 missing values, first in row 3"):
        table(numbered(g=["a", "b", "", "", *["c", "d"] * 18]), group="g")
    with pytest.raises(ValueError, match="time column 'g' has 1 missing value, first in row 1"):
        table(numbered(g=["", *range(39)]), time="g")


def test_markers_of_missing_values_can_be_set() -> None:
    text = numbered(x=["?", "n/k", *range(38)])
    with pytest.raises(ValueError, match=r"'n/k' in row 2.*missing_values: \"\?,n/k\""):
        table(text)
    assert table(text, missing_values="?,n/k").feature_names == ("x",)


def test_text_among_numbers_may_be_classes_on_request() -> None:
    data = table(numbered(y=["7", "8", "9", "x"] * 10), task="multiclass")
    assert data.class_names == ("7", "8", "9", "x")


@pytest.mark.parametrize("content", [b"zz", gzip.compress(GOOD.encode() * 50)[:-20]])
def test_a_damaged_archive_is_named(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^Table: t.csv.gz: it is damaged, or not compressed by gzip"):
        table(content, "t.csv.gz")


def test_a_suffix_may_be_in_capitals() -> None:
    assert table(GOOD, "T.CSV").feature_names == ("x",)


def test_numbers_beyond_single_precision_are_missing() -> None:
    with pytest.warns(UserWarning, match="'x' has 2 infinite values: treated as missing"):
        data = table(numbered(x=["1e160", "1e308", *range(38)]))
    inputs = data.part("train").inputs
    assert isinstance(inputs, torch.Tensor)
    assert torch.isfinite(inputs).all()
