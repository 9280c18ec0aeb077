"""Irregular times: the step that a message advises repairs the file, and rows are put on the steps they belong to."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.data.base import PartName
from models.data.series import Series

PARTS: tuple[PartName, ...] = ("train", "validation", "test")


def written(folder: Path, times: Any, **columns: Any) -> str:
    values = columns or {"y": [row * 7 % 11 + row / 100 for row in range(len(times))]}
    path = folder / "series.csv"
    pd.DataFrame({"when": times, **values}).to_csv(path, index=False)
    return str(path)


def series(path: str, **arguments: Any) -> Series:
    given: dict[str, Any] = {"window": 4, "target": "y"}
    data = Series(path, **given | arguments)
    data.setup(None)
    return data


def inputs_of(data: Series, name: PartName) -> Any:
    """Of a part (windows, window, columns)."""
    inputs = data.part(name).inputs
    assert isinstance(inputs, torch.Tensor)
    return inputs.numpy()


def without(times: Any, *rows: int) -> list[str]:
    return [str(time) for row, time in enumerate(times) if row not in rows]


DAYS = pd.date_range("2020-01-01", periods=120, freq="D")
JITTER = np.random.default_rng(0).uniform(-0.2, 0.2, 120)

IRREGULAR = {
    "months": (pd.date_range("2010-01-01", periods=120, freq="MS"), "MS"),
    "ends of months": (pd.date_range("2010-01-31", periods=120, freq="ME"), "ME"),
    "quarters from February": (pd.date_range("1990-02-01", periods=120, freq="QS-FEB"), "QS-FEB"),
    "years": (pd.date_range("1890-01-01", periods=120, freq="YS"), "YS-JAN"),
    "weeks": (pd.date_range("2010-01-03", periods=120, freq="7D"), "7D"),
    "work days": (pd.bdate_range("2020-01-01", periods=120), "B"),
    "hours": (pd.date_range("2020-01-01 08:00", periods=120, freq="h"), "1h"),
    "jittered minutes": (pd.date_range("2020-01-01", periods=120, freq="min") + pd.to_timedelta(JITTER, "s"), "1min"),
    "jittered half seconds": (
        pd.date_range("2020-01-01", periods=120, freq="500ms") + pd.to_timedelta(JITTER / 5, "s"),
        "500ms",
    ),
}


@pytest.mark.parametrize(("times", "every"), IRREGULAR.values(), ids=IRREGULAR.keys())
def test_the_advised_step_repairs_the_file(tmp_path: Path, times: Any, every: str) -> None:
    path = written(tmp_path, without(times, 40, 41))
    with pytest.raises(ValueError, match="the steps are not regular") as caught:
        series(path)
    advised = re.search(r"`every: ([^`]+)` makes 120 steps, 2 of them empty", str(caught.value))
    assert advised
    assert advised[1] == every

    data = series(path, every=every, interpolation="previous")

    assert len(data.times) == 120
    assert np.flatnonzero(np.isnan(data.read().inputs[:, 0])).tolist() == [40, 41]
    assert abs(data.times[0] - times[0].to_datetime64()) < np.timedelta64(1, "s")


def test_jittered_times_are_on_the_nearest_step_wherever_the_first_one_is(tmp_path: Path) -> None:
    for first in (0.2, -0.2, 0.0):
        times = pd.date_range("2020-01-01", periods=120, freq="min") + pd.to_timedelta([first, *JITTER[1:]], "s")
        data = series(written(tmp_path, times.astype(str)), every="1min")
        assert data.times[:2].tolist() == [pd.Timestamp(2020, 1, 1, 0, minute) for minute in (0, 1)]
        assert not np.isnan(data.read().inputs).any()


def test_steps_with_several_rows_extend_from_their_start(tmp_path: Path) -> None:
    hours = pd.date_range("2020-01-01", periods=480, freq="h")
    data = series(written(tmp_path, hours.astype(str), y=[hour // 24 + 0.5 for hour in range(480)]), every="1D")
    assert data.read().inputs[:, 0].tolist() == [day + 0.5 for day in range(20)]


def test_jittered_numbers_are_put_on_the_nearest_step(tmp_path: Path) -> None:
    path = written(tmp_path, (np.arange(120) * 10 + JITTER).round(4))
    with pytest.raises(ValueError, match="`every: 10` makes 120 steps, 0 of them empty"):
        series(path)
    data = series(path, every="10")
    assert data.times[:3].tolist() == [0, 10, 20]
    assert len(data.times) == 120


def test_numbers_of_months_are_months(tmp_path: Path) -> None:
    data = series(written(tmp_path, [int(month.strftime("%Y%m")) for month in IRREGULAR["months"][0]]))
    assert len(data.times) == 120
    assert str(data.times[13])[:10] == "2011-02-01"


def test_local_midnights_are_regular_though_their_offset_changes(tmp_path: Path) -> None:
    local = pd.date_range("2024-01-01", periods=300, freq="D", tz="Europe/Berlin")
    data = series(written(tmp_path, [time.isoformat() for time in local]))
    assert [str(time)[:19] for time in data.times[[0, 200]]] == ["2024-01-01T00:00:00", "2024-07-19T00:00:00"]


def test_hours_with_an_offset_that_changes_are_regular_in_utc(tmp_path: Path) -> None:
    local = pd.date_range("2024-10-20", periods=300, freq="h", tz="Europe/Berlin")
    data = series(written(tmp_path, [time.isoformat() for time in local]))
    assert len(data.times) == 300
    assert str(data.times[0])[:19] == "2024-10-19T22:00:00"


def test_an_hour_that_a_clock_shows_twice_is_explained(tmp_path: Path) -> None:
    local = pd.date_range("2024-10-20", periods=300, freq="h", tz="Europe/Berlin").tz_localize(None)
    with pytest.raises(ValueError, match=r"keep one row per time\. If a clock was set back there, write times with"):
        series(written(tmp_path, local.astype(str)))


# ---- columns that begin late


def test_steps_lost_to_a_column_that_begins_late_are_counted(tmp_path: Path) -> None:
    late = [np.nan] * 90 + [row / 7 for row in range(30)]
    path = written(tmp_path, DAYS.astype(str), y=[row * 7 % 11 for row in range(120)], sensor=late)
    said = (
        r"column 'sensor' has its first value at 2020-03-31: the 90 of 120 steps before it are left out. To use them, "
        "leave 'sensor' out of features"
    )
    with pytest.warns(UserWarning, match=said):
        assert len(series(path, interpolation="previous").times) == 30
    assert len(series(path, interpolation="previous", features="").times) == 120


def test_a_target_that_begins_late_is_said_without_that_advice(tmp_path: Path) -> None:
    path = written(tmp_path, DAYS.astype(str), y=[np.nan] * 20 + [row * 7 % 11 for row in range(100)])
    with pytest.warns(
        UserWarning, match="column 'y' has its first value .*: the 20 of 120 steps before it are left out$"
    ):
        series(path, interpolation="previous")


# ---- several series in a file


def shops(folder: Path, *, mixed: bool = False, **lengths: int) -> str:
    """Series of shops: the value is 10,000 times the shop's number, plus the step's square."""
    rows = [
        (str(DAYS[step])[:10], name, 10_000 * number + step**2 + (number * step) % 3)
        for number, (name, length) in enumerate(lengths.items())
        for step in range(length)
    ]
    rows = sorted(rows) if mixed else rows
    path = folder / "shops.csv"
    path.write_text("\n".join(["day,shop,y", *(",".join(map(str, row)) for row in rows)]))
    return str(path)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("differencing", ["none", "first", "seasonal"])
def test_windows_never_cross_series_and_each_is_split_by_its_own_time(
    tmp_path: Path, differencing: str, mixed: bool
) -> None:
    path = shops(tmp_path, mixed=mixed, a=60, b=40, c=100)
    given: dict[str, Any] = {"horizon": 2, "period": 3, "differencing": differencing, "scaling": "none"}
    data = series(path, id="shop", validation_fraction=0.2, test_fraction=0.2, **given)

    alone = []
    for number, length in enumerate((60, 40, 100)):
        one = tmp_path / "one.csv"
        rows = [f"{str(DAYS[step])[:10]},{10_000 * number + step**2 + (number * step) % 3}" for step in range(length)]
        one.write_text("\n".join(["day,y", *rows]))
        alone.append(series(str(one), validation_fraction=0.2, test_fraction=0.2, **given))

    for name in PARTS:
        expected = np.concatenate([inputs_of(one, name) for one in alone])
        np.testing.assert_allclose(inputs_of(data, name), expected, rtol=1e-6)
        times = np.concatenate([one.target_times(name) for one in alone])
        assert data.target_times(name).tolist() == times.tolist()
        count = sum(len(getattr(one.rows, name)) for one in alone)
        assert len(getattr(data.rows, name)) == count


def test_gaps_are_filled_within_a_series_only(tmp_path: Path) -> None:
    text = Path(shops(tmp_path, a=40, b=40)).read_text().splitlines()
    for row in (39, 40, 20):  # the end of the first series, and within it
        text[row] = ",".join(text[row].split(",")[:2]) + ","
    (tmp_path / "shops.csv").write_text("\n".join(text))
    given: dict[str, Any] = {"scaling": "none", "differencing": "none", "interpolation": "linear"}
    data = series(str(tmp_path / "shops.csv"), id="shop", **given)
    own = [inputs_of(data, name)[:, :, 0] for name in PARTS]
    shops_of = [np.unique(np.where(window >= 10_000, "b", "a")) for part in own for window in part]
    assert all(len(found) == 1 for found in shops_of)


def test_names_of_series_stay_as_they_are_written(tmp_path: Path) -> None:
    path = Path(shops(tmp_path, a=40, b=40))
    path.write_text(path.read_text().replace(",a,", ",007,").replace(",b,", ",07,"))
    assert series(str(path), id="shop")._file.names == ("007", "07")


def test_errors_name_the_series_and_the_row_of_the_file(tmp_path: Path) -> None:
    path = Path(shops(tmp_path, mixed=True, a=40, b=40))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:20] + lines[21:]))  # one day of shop b
    with pytest.raises(ValueError, match=r"series 'b': column 'day': .*but 2 days from row 18 to row 21"):
        series(str(path), id="shop", target="y")


def test_several_series_without_an_id_are_recognised(tmp_path: Path) -> None:
    path = shops(tmp_path, mixed=True, a=40, b=40)
    with pytest.raises(ValueError, match="has 40 different times in 80 rows: of several series, name the column"):
        series(path, features="")


def test_a_series_without_any_value_of_a_column_is_left_out_and_said(tmp_path: Path) -> None:
    path = Path(shops(tmp_path, a=40, b=40))
    lines = [line if ",b," not in line else line.rpartition(",")[0] + "," for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    with pytest.warns(UserWarning, match="series 'b' is left out: column 'y' has no value in it"):
        assert series(str(path), id="shop", interpolation="previous").describe().get("series") is None


def test_the_shortest_series_decides_on_the_longest_window(tmp_path: Path) -> None:
    path = shops(tmp_path, a=100, b=20)
    with pytest.warns(UserWarning, match=r"in the 14 steps of the training part of series 'b': windows of 6 are used"):
        assert series(path, id="shop", window=50).window == 6


# ---- short series


@pytest.mark.parametrize("rows", [12, 20, 40, 120])
def test_every_window_of_the_space_leaves_enough_samples_to_train(tmp_path: Path, rows: int) -> None:
    path = written(tmp_path, DAYS[:rows].astype(str))
    for window in (4, 13, 29, 64, 81, 100, 128):
        for differencing in ("none", "first", "seasonal"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                data = series(path, window=window, differencing=differencing)
            assert sum(len(targets) for _, targets in data.train_dataloader()) >= min(data.window, 2)
            assert len(data.part("train").targets) >= min(data.window, 16)


def test_a_period_that_does_not_fit_is_refused_whatever_the_differencing(tmp_path: Path) -> None:
    path = written(tmp_path, DAYS[:40].astype(str))
    for differencing in ("none", "first", "seasonal"):
        with pytest.raises(ValueError, match="too few for two windows of 1 step, differences over 30"):
            series(path, period=30, differencing=differencing)


def test_a_stride_that_leaves_one_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 window of 4 steps is left in the training part"):
        series(written(tmp_path, DAYS[:40].astype(str)), stride=100)
