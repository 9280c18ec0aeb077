"""Series: windows without data of the future, differences that can be undone, and errors of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.data.series import Series

ROOT = Path(__file__).parents[4]
NAN = float("nan")
WINDOW, HORIZON = 4, 2


def written(folder: Path, values: Sequence[float], *, times: Sequence[object] | None = None) -> str:
    """A file of a series y, by default a value a day; NaN is an empty cell."""
    moments = times or [str(np.datetime64("2001-01-01") + day) for day in range(len(values))]
    rows = [f"{moment},{'' if np.isnan(value) else value}" for moment, value in zip(moments, values, strict=True)]
    path = folder / "series.csv"
    path.write_text("\n".join(["date,y", *rows]))
    return str(path)


def series(path: str, **arguments: Any) -> Series:
    given: dict[str, Any] = {"window": WINDOW, "horizon": HORIZON, "differencing": "none", "scaling": "none"}
    data = Series(path, **given | {"validation_fraction": 0.2, "test_fraction": 0.2} | arguments)
    data.setup(None)
    return data


def targets(data: Series, name: Any) -> list[list[float]]:
    """Of a part, as they stand in the file."""
    scaled = data.part(name).targets.double() * torch.tensor(data.target_scale) + torch.tensor(data.target_mean)
    restored: list[list[float]] = data.restore(name, scaled).round(decimals=2).tolist()
    return restored


def inputs_of(data: Series, name: Any) -> Tensor:
    """Of a part (windows, window, columns)."""
    inputs = data.part(name).inputs
    assert isinstance(inputs, Tensor)
    return inputs


def walk(steps: int) -> Any:
    """Whole numbers, so that sums are exact."""
    return np.random.default_rng(0).integers(-9, 9, steps).cumsum().astype(float).tolist()


# ---- time


def test_targets_of_each_part_come_after_all_inputs_and_targets_of_the_part_before(tmp_path: Path) -> None:
    data = series(written(tmp_path, range(50)))
    parts = {name: (inputs_of(data, name).squeeze(-1), targets(data, name)) for name in ("train", "validation", "test")}

    assert parts["train"][0][0].tolist() == [0, 1, 2, 3]
    assert parts["train"][1][0] == [4, 5]
    assert (parts["train"][1][-1], parts["validation"][1][0]) == ([28, 29], [30, 31])
    assert (parts["validation"][1][-1], parts["test"][1][0]) == ([38, 39], [40, 41])
    assert parts["test"][1][-1] == [48, 49]
    for inputs, wanted in parts.values():
        for window, (first, second) in zip(inputs.tolist(), wanted, strict=True):
            assert window == [first - 4, first - 3, first - 2, first - 1]
            assert second == first + 1


def test_every_window_and_differencing_is_scored_on_the_same_points_in_time(tmp_path: Path) -> None:
    path = written(tmp_path, walk(60))
    expected = targets(series(path), "validation")

    for window in (1, 3, 9):
        for differencing in ("none", "first", "seasonal"):
            data = series(path, window=window, differencing=differencing, period=7, stride=3)
            assert targets(data, "validation") == expected
            assert data.naive_rmse() == pytest.approx(series(path).naive_rmse())


def test_a_window_longer_than_the_series_is_cut_with_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path, walk(50))

    with pytest.warns(UserWarning, match=r"window of 128 .* the 30 steps .*: windows of 14 are used"):
        data = series(path, window=128, differencing="first")

    inputs = inputs_of(data, "train")
    assert data.input_shape == (14, 1)
    assert inputs.shape == (14, 14, 1)
    assert torch.isfinite(inputs).all()


def test_training_windows_begin_a_stride_apart(tmp_path: Path) -> None:
    data = series(written(tmp_path, range(50)), stride=5)

    assert inputs_of(data, "train")[:, 0, 0].tolist() == [0, 5, 10, 15, 20]


@pytest.mark.parametrize("differencing", ["none", "first", "seasonal"])
@pytest.mark.parametrize("interpolation", ["linear", "previous"])
def test_a_window_is_the_same_whatever_comes_after_it(tmp_path: Path, differencing: str, interpolation: str) -> None:
    """Also where it ends in a gap, or begins in one: no interpolation reaches over its end."""
    given = {"differencing": differencing, "interpolation": interpolation, "period": 5, "horizon": 1}
    values = np.array(walk(60))
    values[[7, 8, 20, 29, 34, 35, 40, 41, 50, 51]] = NAN
    whole = series(written(tmp_path, values.tolist()), **given)
    due = whole.target_times("validation")

    for row, moment in enumerate(due):
        changed = values.copy()
        after = np.arange(60) >= int((moment - np.datetime64("2001-01-01")) / np.timedelta64(1, "D"))
        changed[after & ~np.isnan(values)] = 1000
        other = series(written(tmp_path, changed.tolist()), **given)
        assert torch.equal(inputs_of(other, "validation")[row], inputs_of(whole, "validation")[row])
    assert len(due) == 60 * 0.2 - 2  # what was not measured is not scored


def test_gaps_within_a_window_are_filled_and_the_one_at_its_end_holds_the_last_value(tmp_path: Path) -> None:
    values = [float(value) for value in range(50)]
    values[10] = values[11] = NAN

    linear = inputs_of(series(written(tmp_path, values), interpolation="linear"), "train").squeeze(-1).tolist()
    previous = inputs_of(series(written(tmp_path, values), interpolation="previous"), "train").squeeze(-1).tolist()

    assert [9, 10, 11, 12] in linear
    assert [8, 9, 9, 9] in linear
    assert [9, 9, 9, 12] in previous
    assert [7, 8, 9, 9] not in linear  # its first target is in the gap


# ---- scaling and differences


@pytest.mark.parametrize("scaling", ["standard", "min_max"])
def test_scaling_is_fitted_on_the_training_span(tmp_path: Path, scaling: str) -> None:
    values = walk(50)
    train = np.array(values[:30])
    shift, scale = (train.mean(), train.std()) if scaling == "standard" else (train.min(), train.max() - train.min())

    data = series(written(tmp_path, values), scaling=scaling)

    expected = (np.array(values[26:30]) - shift) / scale
    np.testing.assert_allclose(inputs_of(data, "validation")[0, :, 0], expected, rtol=1e-5)
    assert data.part("train").targets.mean().item() == pytest.approx(0, abs=1e-6)


def test_a_constant_column_stays_finite(tmp_path: Path) -> None:
    for scaling in ("standard", "min_max"):
        data = series(written(tmp_path, [3.0] * 49 + [4.0]), scaling=scaling, differencing="first")
        assert inputs_of(data, "train").isfinite().all()
        assert data.part("train").targets.isfinite().all()


def test_differences_are_taken_from_the_value_before_and_from_the_season_before(tmp_path: Path) -> None:
    path = written(tmp_path, [float(value**2) for value in range(50)])

    first = inputs_of(series(path, differencing="first"), "train")[0, :, 0].tolist()
    seasonal = inputs_of(series(path, differencing="seasonal", period=7), "train")[0, :, 0].tolist()
    without_period = inputs_of(series(path, differencing="seasonal"), "train")[0, :, 0].tolist()

    assert first == without_period == [value**2 - (value - 1) ** 2 for value in range(1, 5)]
    assert seasonal == [value**2 - (value - 7) ** 2 for value in range(7, 11)]


def test_a_season_shorter_than_the_horizon_refers_to_known_seasons_only(tmp_path: Path) -> None:
    data = series(written(tmp_path, [0.0, 1.0, 5.0] * 20), differencing="seasonal", period=3, horizon=7)

    assert data.target_mean == (0,) * 7
    assert data.part("validation").targets.abs().max() == 0


def test_the_naive_forecast_is_that_everything_stays_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path, [float(value) for value in range(50)])

    assert series(path, horizon=1).naive_rmse() == series(path, horizon=1).naive_rmse("test") == 1
    assert series(path, differencing="first").naive_rmse() == pytest.approx(((1 + 4) / 2) ** 0.5)


def test_several_targets_and_features_are_columns_of_the_inputs(tmp_path: Path) -> None:
    rows = [f"{step / 10},{step},{2 * step},{-step}" for step in range(40)]
    (tmp_path / "several.csv").write_text("\n".join(["t,a,b,c", *rows]))

    data = series(str(tmp_path / "several.csv"), target="c, a", horizon=2)

    assert data.columns == ("c", "a", "b")
    assert data.input_shape == (WINDOW, 3)
    assert data.outputs == 4
    assert inputs_of(data, "train")[0, -1].tolist() == [-3, 3, 6]
    assert targets(data, "train")[0] == [-4, 4, -5, 5]


# ---- irregular times


def test_irregular_times_are_put_on_a_grid_on_request(tmp_path: Path) -> None:
    times = [f"2001-01-{day:02d} {hour:02d}:00" for day in range(1, 29) for hour in (0, 5) if (day, hour) != (3, 0)]
    path = written(tmp_path, [float(row) for row in range(len(times))], times=times)

    data = series(path, every="1D", interpolation="linear")

    assert len(data.times) == 28
    assert inputs_of(data, "train")[0, :, 0].tolist() == [0.5, 2.5, 4, 5.5]


def test_numbers_as_times_are_put_on_a_grid_with_gaps(tmp_path: Path) -> None:
    times = [step * 0.5 for step in range(40) if step not in (2, 3)]
    path = written(tmp_path, [float(step) for step in range(40) if step not in (2, 3)], times=times)

    data = series(path, every="0.5", interpolation="linear")

    assert inputs_of(data, "train")[:2, :, 0].tolist() == [[0, 1, 1, 1], [1, 2, 3, 4]]


def test_months_are_regular_though_not_equally_long(tmp_path: Path) -> None:
    months = [str(np.datetime64("1999-01") + month) + "-01" for month in range(40)]

    assert len(series(written(tmp_path, walk(40), times=months)).times) == 40


# ---- what is wrong


def days(count: int, **changes: str) -> list[str]:
    named = [str(np.datetime64("2001-01-01") + day) for day in range(count)]
    for row, moment in changes.items():
        named[int(row.removeprefix("row")) - 1] = moment
    return named


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"differencing": "seasonal", "period": 28},
            "the training part has 30 of 50 steps: too few for two windows of 1 step, differences over 28 and a "
            "horizon of 2",
        ),
        ({"horizon": 11}, "a horizon of 11 is longer than the validation part, 10 steps"),
        ({"horizon": 0}, "horizon 0 should be 1 or more"),
        ({"target": "z"}, "there is no column 'z'; the columns are date, y"),
        ({"time": "day"}, "there is no column 'day'; the columns are date, y"),
        ({"target": "date"}, "'date' is the column of times"),
        ({"every": "often"}, "every 'often' should be a step of time such as 7D"),
        ({"validation_fraction": 0.0}, "validation_fraction 0.0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^Series: .*{message}"):
        series(written(tmp_path, walk(50)), **arguments)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (days(50, row7="2001-01-09"), "column 'date', row 8: 2001-01-08 is before row 7, 2001-01-09: sort the rows"),
        (days(50, row7="2001-01-06"), "column 'date', row 7: 2001-01-06 is also the time of row 6"),
        (days(50, row7="soon"), "column 'date' holds dates, but 'soon' in row 7 is not a date"),
        (days(50, row7=""), "column 'date', row 7: the time is missing"),
        (days(50, row50="2001-03-01"), "mostly 1 days, but 11 days from row 49 to row 50 .*`every: 1D`"),
    ],
)
def test_times_out_of_order_are_refused_with_their_rows(tmp_path: Path, times: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^Series: .*series.csv: .*{message}"):
        series(written(tmp_path, walk(50), times=times))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,y\n2001-01-01,1\n2001-01-02,1", "column 'y' is 1 at all times: there is nothing to forecast"),
        ("date,y\n1,2001-01-01,1\n2,2001-01-02,2", "the rows have more fields than there are column names"),
        (
            "date,y\n01/02/2001,1\n01/03/2001,2",
            "is ambiguous: '01/02/2001' and all others may have the day or the month first.* Write them like",
        ),
        ("date,y\n2001-01-01,1\n2001-01-02,1e300", "column 'y', row 2: '1e[+]300' is too large"),
        ("date,y\n", "there are no rows below the header date, y"),
        (
            "date,y\n2001-01-01,1\n2001-01-02,n.a.\n2001-01-03,x",
            "column 'y', row 2: 'n.a.' is not a number, and 1 more like that",
        ),
        ("date,y\n2001-01-01,1\n2001-01-02,inf", "column 'y', row 2: 'inf' is too large"),
        ("date,y\n2001-01-01,\n2001-01-02,", "column 'y' is empty"),
        ("date\n2001-01-01\n2001-01-02", "target should name the column to forecast, of which there is none"),
        ("date,a,b\n2001-01-01,1,2\n2001-01-02,1,2", "target should name the column to forecast, of a, b"),
        ("date,y\n2001-01-01,1\n2001-01-02,1,2,3", "line 3 has 4 fields instead of 2"),
    ],
)
def test_a_file_that_is_no_series_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "series.csv").write_text(text)

    with pytest.raises(ValueError, match=f"^Series: .*series.csv: .*{message}"):
        series(str(tmp_path / "series.csv"))


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in() -> None:
    with pytest.raises(ValueError, match=f"^Series: data/none.csv: there is no such file, seen from {Path.cwd()}$"):
        series("data/none.csv")


def test_gaps_are_refused_without_an_interpolation() -> None:
    with pytest.raises(ValueError, match="59 values are missing, the first in column 'co2_ppmv' at 1958-05-10: choose"):
        series(str(ROOT / "studies" / "data" / "co2_weekly.csv"))


def test_errors_of_the_text_are_reported_before_those_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("")
    with pytest.raises(ValueError, match=r"^Series: .*series.csv is empty: its first line should hold the column"):
        series(str(path))
    path.write_text("date;y\n2001-01-01;1\n2001-01-02;2")
    with pytest.raises(ValueError, match=r"one column only.* seems to be a semicolon; give \{separator: "):
        series(str(path))


def test_columns_may_be_separated_and_written_otherwise(tmp_path: Path) -> None:
    plain = series(written(tmp_path, walk(50)))
    path = tmp_path / "other.txt"
    lines = (tmp_path / "series.csv").read_text().replace("date,y", "date,größe").splitlines()
    path.write_text("\n".join(line.replace(",", ";").replace(".", ",") for line in lines), encoding="latin-1")

    data = series(str(path), separator=";", decimal=",", encoding="latin-1")

    assert data.columns == ("größe",)
    assert torch.equal(inputs_of(data, "train"), inputs_of(plain, "train"))


def test_days_come_first_where_dots_stand_between(tmp_path: Path) -> None:
    """And so a year of months is no year of days."""
    months = [f"01.{month:02}.{year}" for year in range(2000, 2010) for month in range(1, 13)]

    data = series(written(tmp_path, walk(120), times=months), every="MS")

    assert str(data.times[1]).startswith("2000-02-01")
    assert len(data.times) == 120


def test_years_that_nanoseconds_cannot_count_to_are_times_too(tmp_path: Path) -> None:
    years = [f"{year}-01-01" for year in range(1000, 1050)]
    assert str(series(written(tmp_path, walk(50), times=years), every="365D").times[0]).startswith("1000-01-01")


@pytest.mark.parametrize(("times", "every"), [(range(0, 5_000_000_000, 100_000_000), "1e-3"), (None, "1us")])
def test_a_grid_of_far_too_many_steps_is_refused(tmp_path: Path, times: range | None, every: str) -> None:
    with pytest.raises(ValueError, match=f"every '{every}' makes .* steps"):
        series(written(tmp_path, walk(50), times=times), every=every)
