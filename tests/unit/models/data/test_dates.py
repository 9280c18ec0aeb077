"""Dates as people write them, in tables and in series."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from models.data.dates import compact_dates, dates, look_like_dates, wall_clock
from models.data.series import Series
from models.data.table import Table


def texts(*written: str) -> pd.Series:
    return pd.Series(written, name="when", dtype=object)


DAY, NOON = "2024-12-31", "2024-12-31 12:05"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("31.12.2024", "1.2.2024"),
        ("31/12/2024", "1/2/2024"),
        ("12/31/2024", "2/1/2024"),
        ("12-31-2024", "2-1-2024"),
        ("2024.12.31", "2024.2.1"),
        ("31 Dec 2024", "1 Feb 2024"),
        ("31-Dec-2024", "01-Feb-2024"),
        ("31. december 2024", "1. February 2024"),
        ("Dec 31, 2024", "Feb 1, 2024"),
        ("December 31st 2024", "February 1st 2024"),
        ("2024 Dec 31", "2024 Feb 1"),
        ("Tue, 31 Dec 2024", "Thu, 01 Feb 2024"),
    ],
)
@pytest.mark.parametrize(
    ("clock", "hour", "minute"),
    [("", 0, 0), (" 10:05", 10, 5), (" 10:05:00", 10, 5), (" 1:05 PM", 13, 5), (" 12:05 am", 0, 5), (" 3 p.m.", 15, 0)],
)
def test_a_date_with_or_without_a_time_is_read(first: str, second: str, clock: str, hour: int, minute: int) -> None:
    written = texts(first + clock, second + clock)
    assert look_like_dates(written).all()
    time = pd.Timedelta(hours=hour, minutes=minute)
    assert dates(written, who="Table").tolist() == [pd.Timestamp(day) + time for day in ("2024-12-31", "2024-02-01")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("31. Dezember 2024", "1. März 2024"),
        ("31. Dez. 2024", "1. Mär 2024"),
        ("31. Dez 2024", "1. Mrz 2024"),
        ("31 décembre 2024", "1er mars 2024"),
        ("31 déc. 2024", "1 mars 2024"),
        ("31 de diciembre de 2024", "1 de marzo de 2024"),
        ("31 dic 2024", "1 mar 2024"),
        ("31 dicembre 2024", "1 marzo 2024"),
        ("31 de dezembro de 2024", "1 de março de 2024"),
        ("31 december 2024", "1 maart 2024"),
        ("31. december 2024", "1. marts 2024"),
        ("31 grudnia 2024", "1 marca 2024"),
        ("31. prosince 2024", "1. března 2024"),
        ("31. joulukuuta 2024", "1. maaliskuuta 2024"),
        ("2024. december 31.", "2024. március 1."),
        ("31 Aralık 2024", "1 Mart 2024"),
        ("31 декабря 2024 г.", "1 марта 2024 г."),
        ("Dienstag, 31. Dezember 2024", "Freitag, 1. März 2024"),
    ],
)
@pytest.mark.parametrize(("clock", "hour"), [("", 0), (" 10:05", 10)])
def test_months_of_other_languages_are_read(first: str, second: str, clock: str, hour: int) -> None:
    written = texts(first + clock, second + clock)
    assert look_like_dates(written).all()
    time = pd.Timedelta(hours=hour, minutes=5 if hour else 0)
    assert dates(written, who="Table").tolist() == [pd.Timestamp(day) + time for day in ("2024-12-31", "2024-03-01")]


def test_months_of_other_languages_without_a_day_begin_with_it() -> None:
    for written in (
        texts("Januar 2024", "Dezember 2024"),
        texts("janv. 2024", "déc. 2024"),
        texts("ene-2024", "dic-2024"),
    ):
        assert dates(written, who="Table").tolist() == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-12-01")]


def test_a_month_that_is_another_in_another_language_is_asked_about() -> None:
    written = texts("1 listopada 2024", "2 listopada 2024")
    assert look_like_dates(written).all()
    with pytest.raises(
        ValueError,
        match=r"^Table: 'listopada' in column 'when' is Nov in one language \(pl\) and Oct in another \(hr\)",
    ):
        dates(written, who="Table")
    assert dates(texts("1 listopada 2024", "2 grudnia 2024"), who="Table")[0] == pd.Timestamp("2024-11-01")


def test_a_month_of_no_language_is_named_as_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"holds dates, but '31. Wintermond 2024' in row 2 is not a date"):
        dates(texts("30. Dez 2024", "31. Wintermond 2024"), who="Table")


def test_a_series_has_times_with_months_of_another_language(tmp_path: Path) -> None:
    months = ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober"]
    rows = [f"{month} {year};{year % 7}" for year in (2020, 2021, 2022) for month in [*months, "November", "Dezember"]]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["Monat;v", *rows]), encoding="utf-8")

    series = Series(str(path), separator=";", every="MS", window=4)
    series.setup("fit")

    assert len(series.times) == 36
    assert pd.Timestamp(series.times[2]) == pd.Timestamp("2020-03-01")


@pytest.mark.parametrize(
    ("written", "hours"),
    [
        (["14:30", "0:05", "23:59"], [14.5, 5 / 60, 23 + 59 / 60]),
        (["2:30 PM", "12:00 am", "11:45 a.m."], [14.5, 0, 11.75]),
        (["14:30:36", "00:00:00", "06:00:00"], [14.51, 0, 6]),
        (["2 PM", "9 am", "12 pm"], [14, 9, 12]),
    ],
)
def test_times_without_a_date_are_hours_of_the_day(tmp_path: Path, written: list[str], hours: list[float]) -> None:
    lines = [f"{written[row % 3]},{row % 3 + row / 1000}" for row in range(60)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["at,y", *lines]))

    data = Table(str(path), target="y", scaling="none")
    data.setup("fit")

    assert data.feature_names == ("at hour", "at hour sine", "at hour cosine")
    found = data.part("train").inputs
    assert isinstance(found, torch.Tensor)
    of_row = (data.part("train").targets[:, 0] * data.target_scale[0] + data.target_mean[0]).round().int()
    assert found[:, 0].tolist() == pytest.approx([hours[row] for row in of_row])
    angle = found[:, 0] / 24 * 2 * torch.pi
    torch.testing.assert_close(found[:, 1:], torch.stack([angle.sin(), angle.cos()], 1), atol=1e-5, rtol=1e-5)


def test_a_time_that_no_clock_shows_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["at,y", *(f"{row % 24}:30,{row / 7}" for row in range(59)), "36:15,1.5"]))
    with pytest.raises(
        ValueError, match=r"column 'at' holds times of the day, but '36:15' in row 60 is none. Correct it; .* durations"
    ):
        Table(str(path), target="y").setup("fit")


def test_days_and_times_may_be_mixed() -> None:
    found = dates(texts("31.12.2024", "31.12.2024 12:05"), who="Table")
    assert found.tolist() == [pd.Timestamp(DAY), pd.Timestamp(NOON)]


def test_months_without_a_day_begin_with_it() -> None:
    for written in (texts("2024-01", "2024-12"), texts("01/2024", "12/2024"), texts("Jan 2024", "December-2024")):
        assert look_like_dates(written).all()
        assert dates(written, who="Table").tolist() == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-12-01")]


@pytest.mark.parametrize("written", [("2024Q1", "2024Q4"), ("Q1 2024", "Q4 2024"), ("2024-Q1", "2024-Q4")])
def test_quarters_begin_with_their_first_month(written: tuple[str, str]) -> None:
    assert look_like_dates(texts(*written)).all()
    assert dates(texts(*written), who="Table").tolist() == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-10-01")]


def test_months_with_years_of_two_digits_are_read_and_said() -> None:
    with pytest.warns(UserWarning, match="they are read as 1999 to 2000"):
        found = dates(texts("Dec-99", "Jan-00"), who="Table")
    assert found.tolist() == [pd.Timestamp("1999-12-01"), pd.Timestamp("2000-01-01")]


@pytest.mark.parametrize(
    "written",
    [("12/31/24", "1/2/24"), ("31.12.24", "2.1.24"), ("31-Dec-24", "2-Jan-24"), ("31. Dez. 24", "2. Jan. 24")],
)
def test_years_of_two_digits_are_read_and_said(written: tuple[str, str]) -> None:
    with pytest.warns(UserWarning, match=f"years of two digits, such as '{written[0]}': they are read as 2024 to 2024"):
        assert dates(texts(*written), who="Table").tolist() == [pd.Timestamp(DAY), pd.Timestamp("2024-01-02")]


@pytest.mark.parametrize("written", [("01/02/2024", "03/04/2024"), ("01/02/2024 10:00", "05/06/2024 11:00 PM")])
def test_an_ambiguous_order_is_asked_about_and_may_be_declared(written: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"is ambiguous: '{written[0]}' and all others may have the day or the month"):
        dates(texts(*written), who="Table")
    assert dates(texts(*written), who="Table", order="day_first")[0].month == 2
    assert dates(texts(*written), who="Table", order="month_first")[0].month == 1


def test_two_digit_years_may_come_first_only_where_declared() -> None:
    written = texts("24-01-13", "25-02-14")
    with pytest.raises(ValueError, match="is ambiguous: '24-01-13'"):
        dates(written, who="Table")
    with pytest.warns(UserWarning, match="read as 2024 to 2025"):
        assert dates(written, who="Table", order="year_first")[0] == pd.Timestamp("2024-01-13")


@pytest.mark.parametrize("wrong", ["31.02.2024", "soon", "1.2.2024 25:00", "1.2.2024 13:00 PM", "1.2.2024 10:75"])
def test_a_text_that_is_no_date_is_named_with_its_row(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"holds dates, but '{re.escape(wrong)}' in row 3 is not a date"):
        dates(texts("30.01.2024", "1.2.2024 10:00", wrong, "2.3.2024"), who="Table")


def test_a_date_that_splits_the_table_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    days = pd.date_range("2024-01-01", periods=60).strftime("%d.%m.%y")
    pd.DataFrame({"when": days, "y": [row / 7 for row in range(60)]}).to_csv(path, index=False)
    with pytest.warns(UserWarning, match="years of two digits") as caught:
        Table(str(path), target="y", time="when").setup("fit")
    assert len(caught) == 1


def test_a_mark_of_a_missing_date_may_be_declared(tmp_path: Path) -> None:
    days = ["-" if row % 9 == 0 else f"{1 + row % 28}.{1 + row % 12}.2024" for row in range(60)]
    path = tmp_path / "t.csv"
    pd.DataFrame({"when": days, "y": [row / 7 for row in range(60)]}).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"'-' in row 1 is not a date, and 6 more .*\{missing_values: \"\?,-\"\}"):
        Table(str(path), target="y").setup("fit")
    data = Table(str(path), target="y", missing_values="?,-")
    data.setup("fit")
    assert "when days" in data.feature_names


@pytest.mark.parametrize("text", ["1.2.3", "0.8580", "10-11", "v1.2.34.5", "1/2", "May", "12:30", "Marina 2024"])
def test_other_texts_do_not_look_like_dates(text: str) -> None:
    assert not look_like_dates(texts(text)).any()


def test_numbers_of_months_and_days_are_dates_and_counts_are_not() -> None:
    months = compact_dates(pd.Series([202311.0, 202312.0, 202401.0]))
    assert months is not None
    assert months.tolist() == [pd.Timestamp(2023, 11, 1), pd.Timestamp(2023, 12, 1), pd.Timestamp(2024, 1, 1)]
    days = compact_dates(pd.Series([20231231, 20240101]))
    assert days is not None
    assert days.tolist() == [pd.Timestamp(2023, 12, 31), pd.Timestamp(2024, 1, 1)]
    one_year = compact_dates(pd.Series([20240131, 20240201]))
    assert one_year is not None
    assert one_year.tolist() == [pd.Timestamp(2024, 1, 31), pd.Timestamp(2024, 2, 1)]
    for counts in (
        range(20240101, 20240132),
        range(20240120, 20240220),
        range(200001, 200020),
        range(2000, 2020),
        [202312.5, 202401.0],
        [200001, 200002],
    ):
        assert compact_dates(pd.Series(list(counts))) is None


def test_the_wall_clock_is_told_from_offsets_that_change() -> None:
    found = wall_clock(texts("2024-01-01T00:00:00+01:00", "2024-07-01T00:00:00+02:00"))
    assert found is not None
    assert found.tolist() == [pd.Timestamp(2024, 1, 1), pd.Timestamp(2024, 7, 1)]
    assert wall_clock(texts("2024-01-01T00:00:00+01:00", "2024-01-02T00:00:00+01:00")) is None
    assert wall_clock(texts("2024-01-01", "2024-01-02")) is None


FORMS = ["%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d %B %Y %H:%M", "%Y-%m-%d %H:%M", "%m/%d/%Y %H:%M"]


@pytest.mark.parametrize("form", FORMS)
def test_tables_and_series_read_the_same_dates(tmp_path: Path, form: str) -> None:
    days = pd.date_range("2024-01-01 10:00", periods=80, freq="D")
    frame = pd.DataFrame({"when": days.strftime(form), "y": [row * 37 % 23 + row / 100 for row in range(80)]})
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)

    table, series = Table(str(path), target="y", time="when"), Series(str(path), window=4)
    for data in (table, series):
        data.setup(None)

    assert table.read().inputs["when"].tolist() == days.tolist()
    assert series.times.tolist() == days.as_unit("us").to_numpy().tolist()
    assert sorted(table.rows.test) == list(range(68, 80))
    assert "when days" in table.feature_names


def test_the_order_may_be_declared_for_tables_and_series(tmp_path: Path) -> None:
    frame = {"when": [f"{month:02}/01/2024" for month in range(1, 13)], "y": [row * 7 % 5 + 0.5 for row in range(12)]}
    path = tmp_path / "t.csv"
    pd.DataFrame(frame).to_csv(path, index=False)
    kinds: list[tuple[Any, dict[str, Any]]] = [(Table, {}), (Series, {"window": 2})]
    for kind, arguments in kinds:
        with pytest.raises(ValueError, match=r"ambiguous.*date_order: day_first.*date_order: month_first"):
            kind(str(path), target="y", **arguments).setup("fit")
        kind(str(path), target="y", date_order="month_first", **arguments).setup("fit")
        with pytest.raises(ValueError, match="date_order 'american' should be one of auto, day_first"):
            kind(str(path), target="y", date_order="american", **arguments)
