"""Series to forecast: windows of the past as inputs, the next values as targets, split by time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hpo.space import Int
from models.data.base import DataModule, Part, PartName, Samples
from models.data.dates import DateOrder, check_order
from models.data.differences import differences, references
from models.data.gaps import Fill
from models.data.grid import step_of
from models.data.new_data import NewData, batches_of
from models.data.new_series import read_new_series
from models.data.numerals import check_separators
from models.data.series_file import read_series
from models.data.splits import Ints, Rows, check_fractions, time_split
from models.data.timed_file import Floats, Moments, text_of
from models.data.window_length import fitting_window

Differencing = Literal["none", "first", "seasonal"]
Scaling = Literal["none", "standard", "min_max"]
Interpolation = Literal["none", "linear", "previous"]


class Series(DataModule):
    """Forecasts for a file with a row for each point in time: the next `horizon` values from the last `window`.

    Batches are inputs (batch, window, columns), the targets' columns first, and targets (batch, horizon * values),
    the values of the first step first; both float32. Parts are spans of time: the earliest is for training, the last
    is the test. All targets of a window are in its part; the inputs of a validation window may reach back into the
    training span, as they would in use. So every trial is scored on the same points in time, with any window.

    A window has no values from after its end: a gap at its end is filled with the last measured value. Targets that
    were not measured are neither trained nor scored.

    A file may hold several series, told apart by the column `id`. Windows never cross from one to another, and each
    series is split by its own time; scaling is common to all.

    A window that leaves fewer than 16 windows in the training part of the shortest series is cut, with a warning, to
    the longest that leaves so many, or at least as many as it has steps. So a searched range also works for short
    series.

    Differencing: inputs are the values (none), minus the values before (first), or minus those one `period` before
    (seasonal; without a period it is as first). Targets are the values, minus the last known one, or minus the known
    one at the same point of the season: so errors are in the unit of the file and comparable for all choices, and
    `restore` returns the values.

    Args:
        path: of a .csv or .tsv file; a relative one starts from the current folder, in a study from the project.
        id: the column with the name of each row's series; by default the file is one series.
        time: the column of dates or numbers, ascending in each series; by default the first.
        target: the column to forecast, or several, comma separated; by default the only other one.
        features: columns of the inputs besides the targets, comma separated, or `all`.
        stride: steps between the starts of training windows.
        interpolation: of gaps: linear, previous value, or none, which refuses them.
        every: puts irregular times on a grid, such as 7D, 1h, MS: each time on the nearest step, or, where steps have
            several rows, their mean.
        separator, decimal, encoding: of the file; by default a comma, or in .tsv a tab; a point; and utf-8.
        thousands: the separator of thousands in numbers; by default it is recognised where only one reading is
            possible.
        date_order: day_first, month_first or year_first, for dates that could be read in several orders.

    Raises:
        ValueError: the file or an argument is invalid.
    """

    task = "regression"
    standalone = "models.data.standalone.series"

    def __init__(
        self,
        path: str,
        target: str = "",
        time: str = "",
        features: str = "all",
        horizon: int = 1,
        window: Annotated[int, Int(4, 128, log=True)] = 32,
        stride: int = 1,
        differencing: Differencing = "first",
        period: int = 0,
        scaling: Scaling = "standard",
        interpolation: Interpolation = "none",
        every: str = "",
        separator: str = "",
        decimal: str = ".",
        encoding: str = "utf-8",
        batch_size: Annotated[int, Int(16, 512, log=True)] = 64,
        validation_fraction: float = 0.15,
        test_fraction: float = 0.15,
        thousands: str = "",
        date_order: DateOrder = "auto",
        id: str = "",
    ) -> None:
        super().__init__()
        check_fractions(validation_fraction, test_fraction, who="Series")
        check_order(date_order, who="Series")
        check_separators(decimal, thousands, who="Series")
        for name, value, least in (
            ("horizon", horizon, 1), ("window", window, 1), ("stride", stride, 1), ("period", period, 0)
        ):  # fmt: skip
            if value < least:
                raise ValueError(f"Series: {name} {value} should be {least} or more")
        self.save_hyperparameters()
        self.horizon = horizon
        self._lag = {"none": 0, "first": 1, "seasonal": period or 1}[differencing]
        self.window = window

    def read(self) -> Samples:
        names = (
            "id",
            "time",
            "target",
            "features",
            "every",
            "separator",
            "decimal",
            "encoding",
            "thousands",
            "date_order",
        )
        self._file = read_series(self.hparams["path"], **{name: self.hparams[name] for name in names})
        return Samples(self._file.values, keys=self._file.times)

    def prepare(self) -> None:
        given = self.hparams
        self._values, _, self.times = self.read()
        self.targets, self.columns = self._file.targets, self._file.columns
        self._check_gaps()
        fractions = given["validation_fraction"], given["test_fraction"]
        self._parts_of_series = _split(self._file.lengths, *fractions)
        self.window = fitting_window(
            given["window"],
            self._parts_of_series,
            self._file.names,
            lag=given["period"] or self._lag,  # the same for every differencing, as far as windows can tell
            horizon=self.horizon,
            test_fraction=given["test_fraction"],
            who=self._who,
        )
        if self._learns_from_validation:  # with the same window
            self._parts_of_series = [
                its._replace(train=np.concatenate([its.train, its.validation])) for its in self._parts_of_series
            ]
        self.rows = Rows(*(np.concatenate(part) for part in zip(*self._parts_of_series, strict=True)))
        self._fill = Fill(self._values, given["interpolation"])
        self.outputs = self.horizon * len(self.targets)
        self.input_shape = (self.window, len(self.columns))
        self._check_train_windows()
        trained = [
            differences(self._fill, its[None, self._lag :], its[-1:], lag=self._lag)[0]
            for its, *_ in self._parts_of_series
        ]
        self._shift, self._scale = _fit(np.concatenate(trained), given["scaling"])
        targets = self._targets("train")
        self._mean, deviation = targets.mean(axis=0), targets.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        self.target_mean, self.target_scale = tuple(self._mean.tolist()), tuple(self._deviation.tolist())

    def part(self, name: PartName) -> Part:
        ends = self._ends(name)
        steps = ends[:, None] + np.arange(1 - self.window, 1)
        inputs = (differences(self._fill, steps, ends, lag=self._lag) - self._shift) / self._scale
        targets = (self._targets(name) - self._mean) / self._deviation
        return Part(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets.astype(np.float32)))

    def restore(self, name: PartName, values: Tensor) -> Tensor:
        """Levels of a part's predictions or targets (windows, outputs), which are already in the data's unit."""
        return values + torch.from_numpy(self._references(name)).to(values.device)

    def target_times(self, name: PartName) -> Moments:
        """The time of the first value of each window's forecast (windows,)."""
        moments: Moments = self.times[self._ends(name) + 1]
        return moments

    @property
    def input_meaning(self) -> str:
        """Of the inputs' values, for pictures."""
        if self._lag == 0:
            return "value"
        steps = "the step before" if self._lag == 1 else f"{self._lag} steps before"
        return f"difference from {steps}"

    def shown(self, name: PartName) -> dict[str, Any]:
        """What a picture shows besides a part's batches.

        series: of each window, the number of its name among `names` (windows,). gaps: the times without a value of the
        targets, by the name of their series. filled: whether an input was filled in (windows, steps, columns), or
        is a difference of values of which one was.
        """
        ends, missing = self._ends(name), np.isnan(self._values)
        steps = ends[:, None] + np.arange(1 - self.window, 1)
        no_target = missing[:, : len(self.targets)].any(axis=1)
        gaps = [rows[no_target[rows]] for rows in (getattr(its, name) for its in self._parts_of_series)]
        return {
            "series": np.searchsorted(np.cumsum(self._file.lengths), ends, side="right"),
            "names": self._file.names,
            "gaps": {series: self.times[rows] for series, rows in zip(self._file.names, gaps, strict=True)},
            "filled": missing[steps] | missing[steps - self._lag],
        }

    def naive_rmse(self, name: PartName = "validation") -> float:
        """Root of the mean squared error, in the file's unit, of repeating the last value as the forecast."""
        ends = self._ends(name)
        last = self._fill.at(ends[:, None], ends)[:, :, : len(self.targets)]
        return float(np.sqrt(np.mean(np.square(self._levels(ends) - last))))

    def fitted(self) -> dict[str, Any]:
        given = self.hparams
        return super().fitted() | {
            "columns": [list(self.targets), list(self.columns)],
            "scalings": np.array([self._shift, self._scale]),
            "differences": [given["differencing"], self._lag, self.horizon, given["interpolation"]],
        }

    def fitted_state(self) -> dict[str, Any]:
        given = self.hparams
        reading = {name: given[name] for name in ("id", "every", "separator", "decimal", "encoding", "thousands")}
        reading |= {"time": self._file.time, "date_order": self._file.date_order or given["date_order"]}
        longest = int(np.argmax(self._file.lengths))
        start = sum(self._file.lengths[:longest])
        return super().fitted_state() | {
            "target_names": list(self.targets),
            "shift": np.asarray(self._shift),
            "scale": np.asarray(self._scale),
            "window": self.window,
            "horizon": self.horizon,
            "lag": self._lag,
            "interpolation": given["interpolation"],
            "targets": list(self.targets),
            "columns": list(self.columns),
            "step": step_of(self.times[start : start + self._file.lengths[longest]]),
            "reading": reading,
        }

    def write_sample(self, folder: Path, count: int) -> Path:
        """The first window of the validation part, with the steps before it that differences need."""
        [end, *_] = self._ends("validation")
        rows = np.arange(end - self.window - self._lag + 1, end + 1)
        reading = self.hparams
        number = int(np.searchsorted(np.cumsum(self._file.lengths), end, side="right"))
        names = {reading["id"]: self._file.names[number]} if reading["id"] else {}
        values = dict(zip(self.columns, self._fill.at(rows[None], np.array([end]))[0].T, strict=True))
        frame = pd.DataFrame({**names, self._file.time: self.times[rows], **values})
        writing = {"sep": reading["separator"] or ",", "decimal": reading["decimal"], "encoding": reading["encoding"]}
        frame.to_csv(folder / "sample.csv", index=False, **writing)
        return folder / "sample.csv"

    def new_data(self, source: Any, state: Mapping[str, Any]) -> NewData:
        """A file as the class reads it, or a data frame: the `horizon` values after the end of each series."""
        found = read_new_series(source, state)
        return {
            "batches": batches_of(torch.from_numpy(found.inputs.astype(np.float32))),
            "rows": found.rows,
            "remarks": found.remarks,
            "steps": np.full(len(found.inputs), state["horizon"]),
            "reference": found.reference,
        }

    def describe(self) -> dict[str, Any]:
        rows = np.concatenate(self.rows[:2])
        known, times = self._values[rows], self.times[rows]
        gaps = {name: int(count) for name, count in zip(self.columns, np.isnan(known).sum(axis=0), strict=True)}
        span = f"{text_of(times.min())} to {text_of(times.max())}"
        facts = {"train and validation": span, "missing in train and validation": gaps}
        count = len(self._file.lengths)
        return super().describe() | facts | ({"series": count} if count > 1 else {})

    def _ends(self, name: PartName) -> Ints:
        """The last input's row of each window whose targets are measured and in this part (windows,)."""
        if not len(getattr(self.rows, name)):
            return np.empty(0, dtype=np.int64)
        ends = np.concatenate([self._ends_in(its, name) for its in self._parts_of_series])
        known: Ints = ends[~np.isnan(self._levels(ends)).any(axis=(1, 2))]
        if not len(known):
            raise ValueError(
                f"{self._who}: no window of the {name} part has {self.horizon} measured values to forecast"
            )
        return known

    def _ends_in(self, its: Rows, name: PartName) -> Ints:
        """The same of one series, measured or not."""
        rows: Ints = getattr(its, name)
        if not len(rows):
            return rows
        least = its.train[0] + self.window - 1 + self._lag
        ends = np.arange(max(rows[0] - 1, least), rows[-1] - self.horizon + 1)
        return ends[:: self.hparams["stride"]] if name == "train" else ends

    def _levels(self, ends: Ints) -> Floats:
        """The values that follow each window (windows, horizon, values), NaN in gaps."""
        ahead = ends[:, None] + np.arange(1, self.horizon + 1)
        levels: Floats = self._values[ahead][:, :, : len(self.targets)]
        return levels

    def _references(self, name: PartName) -> Floats:
        """The references that are subtracted from the levels (windows, outputs)."""
        return self.known_before(name, self._lag)

    def known_before(self, name: PartName, lag: int) -> Floats:
        """For each value of a part's forecasts, the last known one at the same point of a season of `lag` steps.

        With a lag of 1, the last value of the window; with 0, nothing; (windows, outputs), in the data's unit.
        """
        return references(self._fill, self._ends(name), lag=lag, horizon=self.horizon, targets=len(self.targets))

    @property
    def season(self) -> int:
        """Steps of a season; 0 where none is given."""
        return int(self.hparams["period"])

    def _targets(self, name: PartName) -> Floats:
        ends = self._ends(name)
        return self._levels(ends).reshape(len(ends), -1) - self._references(name)

    @property
    def _who(self) -> str:
        return f"Series: {self.hparams['path']}"

    def _check_gaps(self) -> None:
        gaps = np.isnan(self._values)
        if self.hparams["interpolation"] != "none" or not gaps.any():
            return
        row, column = np.argwhere(gaps)[0]
        raise ValueError(
            f"{self._who}: {gaps.sum()} values are missing, the first in column '{self.columns[column]}' at "
            f"{text_of(self.times[row])}: choose interpolation 'linear' or 'previous'"
        )

    def _check_train_windows(self) -> None:
        if (count := len(self._ends("train"))) < 2:
            raise ValueError(
                f"{self._who}: {count} window of {self.window} steps is left in the training part, which needs two at "
                f"least: a stride of {self.hparams['stride']} or the gaps in the targets leave no more"
            )


def _split(lengths: tuple[int, ...], validation_fraction: float, test_fraction: float) -> list[Rows]:
    """The rows of each part of each series, whose steps follow each other."""
    starts = np.cumsum([0, *lengths[:-1]])
    splits = (time_split(length, validation_fraction, test_fraction) for length in lengths)
    return [Rows(*(rows + start for rows in parts)) for start, parts in zip(starts, splits, strict=True)]


def _fit(rows: Floats, scaling: str) -> tuple[Floats | float, Floats | float]:
    """The offset and the scale of inputs (..., columns)."""
    flat = rows.reshape(-1, rows.shape[-1])
    match scaling:
        case "standard":
            shift, scale = flat.mean(axis=0), flat.std(axis=0)
        case "min_max":
            shift = flat.min(axis=0)
            scale = flat.max(axis=0) - shift
        case _:
            return 0.0, 1.0
    return shift, np.where(scale > 0, scale, 1.0)
