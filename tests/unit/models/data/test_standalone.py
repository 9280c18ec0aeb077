"""What predict.py reads with NumPy alone, against what pandas reads for `hpo predict`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.data.dates import read_in_order, times_of_day
from models.data.new_series import read_new_series
from models.data.numerals import Numerals, read_numbers
from models.data.standalone import images, sequences, series
from models.data.standalone.moments import date_of, moment_texts, moments_of, time_of
from models.data.standalone.numerals import plain_number, written_numbers

FILES = sorted(Path(images.__file__).parent.glob("*.py"))

PLAIN = ["1", "-2.5", "+3", ".5", "4.", "1e3", "-1.5E-2"]
WRITTEN = ["$1,200", "1,200.5", "(3)", "-12 %", "1 200", "12'000"]
DATES = [
    *("2025-12-31", "2025/1/2", "31.12.2025", "2025-03", "3 Mar 2024", "Mar 3, 2024", "2025-12-31 14:30"),
    *("2025-12-31T14:30:15.25", "2025-12-31T14:30:00Z", "2025-12-31T23:30:00+02:00", "2025-12-31T07", "May 2024"),
    *("2025-02-30", "31/12/2025", "12.5", "soon"),
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_numbers_are_read_as_pandas_reads_them(text: str) -> None:
    assert plain_number(text, ".") == float(pd.to_numeric(text))
    assert plain_number(text.replace(".", ","), ",") == float(pd.to_numeric(text))
    assert plain_number("1_000", ".") is None


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.filterwarnings("ignore:.*is read as numbers")
def test_numbers_with_signs_and_separators_are_read_as_pandas_reads_them(text: str) -> None:
    expected = read_numbers(pd.Series([text], name="x"), Numerals(), who="Table").iloc[0]

    assert written_numbers([text], decimal=".", thousands="", where="x") == [expected]


def test_what_is_no_number_for_certain_is_none() -> None:
    assert written_numbers(["12 m2", "3.5.6", "1.200,5"], decimal=".", thousands="", where="x") == [None] * 3
    with pytest.raises(ValueError, match="x has several units"):
        written_numbers(["$1", "€2"], decimal=".", thousands="", where="x")


@pytest.mark.parametrize("text", DATES)
@pytest.mark.parametrize("order", ["day_first", "month_first"])
def test_dates_are_read_as_pandas_reads_them_or_not_at_all(text: str, order: str) -> None:
    try:
        expected = read_in_order(pd.Series([text], name="x"), order, who="Table").iloc[0]
    except ValueError:  # in another order
        expected = pd.NaT

    found = date_of(text, order)

    assert np.isnat(found) == pd.isna(expected)
    assert pd.isna(expected) or pd.Timestamp(found) == expected


@pytest.mark.parametrize("text", ["14:30", "2:30 PM", "12:00:30.5", "12 am"])
def test_times_of_the_day_are_read_as_pandas_reads_them(text: str) -> None:
    expected = times_of_day(pd.Series([text], name="x"), who="Table", remedy=lambda _: "").iloc[0]

    assert pd.Timestamp(time_of(text)) == expected
    assert np.isnat(time_of("25:00"))


def test_points_in_time_are_shown_as_a_data_frame_writes_them() -> None:
    for texts in (["2025-12-31", "2026-01-01"], ["2025-12-31 10:00", "2025-12-31 11:00:30"]):
        moments = moments_of(texts, order="auto", where="time")
        written = pd.DataFrame({"time": moments}).to_csv(index=False, lineterminator="\n").split("\n")
        assert moment_texts(moments) == written[1:-1]


SERIES: dict[str, Any] = {
    **{"window": 2, "lag": 0, "horizon": 3, "interpolation": "none", "targets": ["y"], "columns": ["y"]},
    **{"shift": 1.0, "scale": 2.0, "target_names": ["y"]},
    "reading": {
        **{"id": "", "every": "", "time": "time", "separator": "", "decimal": ".", "encoding": "utf-8"},
        **{"thousands": "", "date_order": "auto"},
    },
}


@pytest.mark.parametrize(
    ("times", "step"),
    [
        (["2025-01-01", "2025-02-01", "2025-03-01"], "MS"),
        (["2025-01-31", "2025-02-28", "2025-03-31"], "ME"),
        (["2025-01-01", "2025-04-01", "2025-07-01"], "QS-OCT"),
        (["2023-12-31", "2024-12-31", "2025-12-31"], "YE-DEC"),
        (["2025-01-02", "2025-01-03", "2025-01-06"], "B"),
        (["2025-01-01", "2025-01-02", "2025-01-03"], 86_400e6),
        (["2025-01-01 10:00", "2025-01-01 11:00", "2025-01-01 12:00"], 86_400e6),
        (["1", "2", "3"], 1.0),
    ],
)
def test_the_times_ahead_are_those_of_pandas(times: list[str], step: str | float, tmp_path: Path) -> None:
    path = str(tmp_path / "new.csv")
    pd.DataFrame({"time": times, "y": [1, 2, 3]}).to_csv(path, index=False)
    state = SERIES | {"step": step}

    found, expected = series.read(path, state), read_new_series(path, state)

    written = pd.DataFrame(expected.rows).to_csv(index=False, lineterminator="\n").split("\n")[1:-1]
    assert [str(each) for each in found["rows"]["time"]] == written
    np.testing.assert_allclose(found["inputs"][0], expected.inputs)


def test_a_grid_of_times_and_another_calendar_are_left_to_hpo_predict(tmp_path: Path) -> None:
    path = str(tmp_path / "new.csv")
    pd.DataFrame({"time": ["2025-01-05", "2025-01-12"], "y": [1, 2]}).to_csv(path, index=False)

    with pytest.raises(ValueError, match="every: 7D"):
        series.read(path, SERIES | {"step": 1.0, "reading": SERIES["reading"] | {"every": "7D"}})
    with pytest.raises(ValueError, match="steps of WOM-2MON"):
        series.read(path, SERIES | {"step": "WOM-2MON"})


def test_a_table_of_steps_is_read_by_its_features(tmp_path: Path) -> None:
    path = str(tmp_path / "new.csv")
    pd.DataFrame({"who": ["b", "b", "a"], "t": [1, 2, 7], "speed": [1.0, 2.0, 3.0], "label": 0}).to_csv(
        path, index=False
    )
    reading = {"id": "who", "time": "t", "separator": "", "decimal": ".", "encoding": "utf-8", "thousands": ""}
    state = {"shift": np.array([1.0]), "scale": np.array([2.0]), "features": ["speed"], "truncate": 0, "labels": "step"}
    state |= {"reading": reading | {"date_order": "auto"}, "known": ["label"]}

    found = sequences.read(path, state)

    assert found["inputs"][0][:, :, 0].tolist() == [[0.0, 0.5], [1.0, 0.0]]
    assert found["inputs"][1].tolist() == [2, 1]
    assert found["rows"] == {"who": ["b", "b", "a"], "t": [1.0, 2.0, 7.0]}


def test_these_files_import_numpy_alone() -> None:
    imported = {
        name.partition(".")[0]
        for path in [*FILES, *(FILES[0].parents[1] / name for name in ("gaps.py", "differences.py", "idx.py"))]
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }

    assert not imported & {"torch", "pandas", "sklearn", "scipy", "PIL"}
    assert "numpy" in imported
