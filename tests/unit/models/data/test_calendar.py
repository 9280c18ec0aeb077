"""The calendar beside the values of a series: its cycles, which of them a file's steps tell apart, its columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.data.calendar import NAMES, calendar_columns, calendar_of
from models.data.series import Series


def moments(*texts: str) -> Any:
    return np.array(texts, dtype="datetime64[us]")


def place(moment: str, name: str) -> float:
    """In its cycle, from 0 to 1."""
    [[sine, cosine]] = calendar_columns(moments(moment), [name])
    return float(np.arctan2(sine, cosine) / (2 * np.pi) % 1)


@pytest.mark.parametrize(
    ("moment", "name", "expected"),
    [
        ("2024-03-05T00:00", "hour", 0),
        ("2024-03-05T18:00", "hour", 18 / 24),
        ("1969-12-31T06:00", "hour", 6 / 24),
        ("2024-03-04T23:00", "weekday", 0),  # a Monday
        ("2024-03-10T01:00", "weekday", 6 / 7),
        ("1969-12-29", "weekday", 0),
        ("2024-02-01", "monthday", 0),
        ("2024-02-15T12:00", "monthday", 14 / 29),
        ("2023-02-28", "monthday", 27 / 28),
        ("2024-01-01", "yearday", 0),
        ("2024-12-31", "yearday", 365 / 366),
        ("2023-12-31", "yearday", 364 / 365),
        ("2024-01-31", "month", 0),
        ("1969-12-01", "month", 11 / 12),
    ],
)
def test_a_moment_has_its_place_in_each_cycle(moment: str, name: str, expected: float) -> None:
    assert place(moment, name) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("frequency", "steps", "expected"),
    [
        ("30min", 96, ("hour",)),
        ("30min", 95, ()),  # not two days
        ("1h", 24 * 15, ("hour", "weekday")),
        ("D", 10, ()),
        ("D", 15, ("weekday",)),
        ("D", 732, ("weekday", "yearday")),
        ("B", 600, ("weekday", "yearday")),
        ("7D", 110, ("yearday",)),
        ("MS", 30, ("month",)),
        ("QS", 12, ("month",)),
        ("YS", 40, ()),
    ],
)
def test_auto_takes_the_cycles_that_the_steps_tell_apart_and_that_are_there_twice(
    frequency: str, steps: int, expected: tuple[str, ...]
) -> None:
    times = pd.date_range("2021-01-01", periods=steps, freq=frequency).to_numpy(dtype="datetime64[us]")

    assert calendar_of("auto", times, who="Series") == expected


def test_cycles_are_chosen_by_their_names_and_unknown_ones_refused() -> None:
    times = moments("2024-03-04", "2024-03-05")

    assert calendar_of(" month, hour", times, who="Series") == ("month", "hour")
    assert calendar_of("none", times, who="Series") == calendar_of("auto", np.arange(9.0), who="Series") == ()
    with pytest.raises(
        ValueError, match=r"^Series: calendar 'week' should be none, auto, or some of hour, weekday, mon"
    ):
        calendar_of("hour,week", times, who="Series")
    with pytest.raises(
        ValueError, match=r"^Series: calendar 'hour' needs dates, and the times of this file are numbers"
    ):
        calendar_of("hour", np.arange(9.0), who="Series")


def hourly(folder: Path) -> str:
    times = pd.date_range("2024-03-01 05:00", periods=400, freq="h")
    frame = pd.DataFrame({"time": times, "load": np.random.default_rng(0).normal(size=400).cumsum()})
    frame.to_csv(folder / "hourly.csv", index=False)
    return str(folder / "hourly.csv")


@pytest.mark.parametrize("differencing", ["none", "first", "seasonal"])
def test_columns_of_the_calendar_come_last_and_are_neither_differenced_nor_scaled(
    differencing: Any, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"window": 6, "differencing": differencing, "period": 24}
    path = hourly(tmp_path)
    plain, data = Series(path, **given), Series(path, calendar="hour,month", **given)
    for each in (plain, data):
        each.setup("fit")

    inputs, without = data.part("validation").inputs, plain.part("validation").inputs

    assert isinstance(inputs, torch.Tensor)
    assert isinstance(without, torch.Tensor)
    assert data.input_shape == (6, 5)
    assert data.feature_names == ("load", "hour (sine)", "hour (cosine)", "month (sine)", "month (cosine)")
    torch.testing.assert_close(inputs[:, :, :1], without)
    last = data.target_times("validation") - np.timedelta64(1, "h")  # of each window
    np.testing.assert_allclose(inputs[:, -1, 1:], calendar_columns(last, ("hour", "month")), atol=1e-6)
    assert (data.outputs, data.level_mean) == (plain.outputs, plain.level_mean)


def test_what_is_no_part_of_the_training_has_no_say_in_the_choice(tmp_path: Path) -> None:
    """So a final model, which learns from the validation part too, has the same columns."""
    path = hourly(tmp_path)
    searched, final = (Series(path, calendar="auto", validation_fraction=0.3, test_fraction=0.1) for _ in range(2))
    final.learn_from_validation()
    for data in (searched, final):
        data.setup("fit")

    assert searched.feature_names == final.feature_names == ("load", "hour (sine)", "hour (cosine)")


def test_all_names_are_documented() -> None:
    documented = " ".join((Series.__doc__ or "").split())

    assert f"{', '.join(NAMES[:-1])} and {NAMES[-1]}" in documented


def of_days(folder: Path, **options: Any) -> Series:
    """Daily values of two years, which are 5 higher on holidays of Germany."""
    days = pd.date_range("2022-01-01", "2023-12-31", freq="D")
    is_holiday = np.isin(days.strftime("%m-%d"), ["01-01", "05-01", "10-03", "12-25", "12-26"])
    pd.DataFrame({"day": days, "load": 5.0 * is_holiday + np.arange(len(days)) % 7}).to_csv(
        folder / "days.csv", index=False
    )
    data = Series(str(folder / "days.csv"), window=7, **options)
    data.setup("fit")
    return data


def test_holidays_are_told_of_the_day_and_of_the_next_one(tmp_path: Path) -> None:
    data = of_days(tmp_path, holidays="DE", calendar="weekday")

    assert data.feature_names[-2:] == ("holiday", "holiday at the next step")
    inputs, days = data.train_dataloader().inputs, pd.DatetimeIndex(data.times)
    assert isinstance(inputs, torch.Tensor)
    assert inputs.shape[2] == 1 + 2 + 2
    ends = data._ends("train")
    of_last = inputs[:, -1, -2:].numpy()
    christmas = [place for place, end in enumerate(ends) if days[end].strftime("%m-%d") == "12-24"]
    assert of_last[christmas].tolist() == [[0.0, 1.0]] * len(christmas)
    second = [place for place, end in enumerate(ends) if days[end].strftime("%m-%d") == "12-26"]
    assert of_last[second].tolist() == [[1.0, 0.0]] * len(second)
    assert christmas
    assert second


def test_holidays_go_on_in_years_that_the_model_has_not_seen(tmp_path: Path) -> None:
    data = of_days(tmp_path, holidays="DE")
    later = pd.DataFrame({"day": pd.date_range("2029-12-17", "2029-12-24", freq="D"), "load": 0.0})

    [batch] = data.new_data(later, data.fitted_state())["batches"]

    assert batch[0, -1, -2:].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("XX", "holidays 'XX' should be a country's code such as US"),
        ("DE-QQ", "holidays 'DE-QQ' should be a country's"),
    ],
)
def test_an_unknown_country_is_refused(place: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        of_days(tmp_path, holidays=place)
