"""Series to forecast: windows of the past as inputs, the next values as targets, split by time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from hpo.space import Choice, Int
from models.data.base import DataModule, Part, PartName, Samples
from models.data.calendar import calendar_names, calendar_of, known_columns
from models.data.dates import DateOrder, check_order
from models.data.gaps import Fill
from models.data.grid import step_of
from models.data.holiday_days import holiday_days
from models.data.new_data import NewData, batches_of
from models.data.new_series import read_new_series
from models.data.numerals import check_separators
from models.data.series_file import check_complete, read_series
from models.data.shown_series import described, shown_of, write_window
from models.data.splits import Folds, Ints, Rows, check_fractions
from models.data.timed_file import Floats, Moments
from models.data.window_length import fitting_window
from models.data.windows import Windows, parts_of_series

Differencing = Annotated[Literal["none", "first", "seasonal"], Choice()]
Scaling = Literal["none", "standard", "min_max"]
Interpolation = Literal["none", "linear", "previous"]


class Series(DataModule):
    """Forecasts for a file with a row for each point in time: the next `horizon` values from the last `window`.

    Batches are inputs (batch, window, columns), the targets' columns first and those of the calendar last, and targets
    (batch, horizon * values), the values of the first step first; both float32. Parts are spans of time: the earliest
    is for training, the last is the test. All targets of a window are in its part; the inputs of a validation window
    may reach back into the training span, as they would in use. So every trial is scored on the same points in time,
    with any window.

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
        calendar: sine and cosine of where each step of a window is in cycles of the calendar: `auto` takes those that
            the steps tell apart and that the training part has two of at least; or some of hour, weekday, monthday,
            yearday and month, comma separated. They are neither differenced nor scaled.
        holidays: of a country or a part of it, such as US or DE-BY: two columns, whether the day of a step is one, and
            that of the next step; of the package holidays.
        stride: steps between the starts of training windows.
        interpolation: of gaps: linear, previous value, or none, which refuses them.
        every: puts irregular times on a grid, such as 7D, 1h, MS: each time on the nearest step, or, where steps have
            several rows, their mean.
        separator, decimal, encoding: of the file; by default a comma, or in .tsv a tab; a point; and utf-8.
        thousands: the separator of thousands in numbers; by default it is recognised where only one reading is
            possible.
        date_order: day_first, month_first or year_first, for dates that could be read in several orders.

    After `setup("fit")` it also has `level_mean` and `level_scale` of each target column: an input times the scale plus
    the mean is a value in the file's unit. They are empty where the inputs are differences.

    Raises:
        ValueError: the file or an argument is invalid.
    """

    task = "regression"
    standalone = "models.data.standalone.series"
    level_mean: tuple[float, ...] = ()
    level_scale: tuple[float, ...] = ()

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
        calendar: str = "none",
        holidays: str = "",
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
        names = ["id", "time", "target", "features", "every", "separator", "decimal", "encoding"]
        names += ["thousands", "date_order"]
        self._file = read_series(self.hparams["path"], **{name: self.hparams[name] for name in names})
        return Samples(self._file.values, keys=self._file.times)

    def prepare(self) -> None:
        given = self.hparams
        values, _, self.times = self.read()
        self._file = self._file._replace(values=values, times=self.times)
        self.targets, self.columns = self._file.targets, self._file.columns
        if given["interpolation"] == "none":
            check_complete(self._file, who=self._who)
        parts = parts_of_series(self._file.lengths, given["validation_fraction"], given["test_fraction"])
        self.folds = Folds("time", np.arange(len(values)))
        if self._fold is not None:
            parts = [self._fold_of(its) for its in parts]
        self.window = fitting_window(
            given["window"],
            parts,
            self._file.names,
            lag=given["period"] or self._lag,  # the same for every differencing, as far as windows can tell
            horizon=self.horizon,
            test_fraction=given["test_fraction"],
            who=self._who,
        )
        longest = max((its.train for its in parts), key=len)
        self._calendar = calendar_of(given["calendar"], self.times[longest], who=self._who)
        self._holidays = holiday_days(given["holidays"], self.times[longest], who=self._who)
        self._days = _days_of_step(self.times[longest]) if len(self._holidays) else 0.0
        if self._learns_from_validation:  # with the same window
            parts = [its._replace(train=np.concatenate([its.train, its.validation])) for its in parts]
        self._rows = Rows(*(np.concatenate(part) for part in zip(*parts, strict=True)))  # of each series' own parts
        self._windows = Windows(
            self._file.values,
            Fill(self._file.values, given["interpolation"]),
            parts,
            steps=self.window,
            stride=given["stride"],
            horizon=self.horizon,
            lag=self._lag,
            targets=len(self.targets),
        )
        holidays = ("holiday", "holiday at the next step") if len(self._holidays) else ()
        self.feature_names = (*self.columns, *calendar_names(self._calendar), *holidays)
        self.outputs = self.horizon * len(self.targets)
        self.input_shape = (self.window, len(self.feature_names))
        self._check_train_windows()
        self._shift, self._scale = self._windows.scaling(given["scaling"])
        if not self._lag:
            count = len(self.targets)
            shift, scale = (np.broadcast_to(fitted, len(self.columns)) for fitted in (self._shift, self._scale))
            self.level_mean, self.level_scale = tuple(shift[:count].tolist()), tuple(scale[:count].tolist())
        targets = self._windows.wanted(self._ends("train"))
        self._mean, deviation = targets.mean(axis=0), targets.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        self.target_mean, self.target_scale = tuple(self._mean.tolist()), tuple(self._deviation.tolist())

    def part(self, name: PartName) -> Part:
        ends = self._ends(name)
        values = (self._windows.inputs(ends) - self._shift) / self._scale
        times = self.times[self._windows.rows(ends)]
        inputs = np.concatenate([values, *known_columns(times, self._known())], axis=2)
        targets = (self._windows.wanted(ends) - self._mean) / self._deviation
        return Part(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets.astype(np.float32)))

    def restore(self, name: PartName, values: Tensor) -> Tensor:
        """Levels of a part's predictions or targets (windows, outputs), which are already in the data's unit."""
        return values + torch.from_numpy(self.known_before(name, self._lag)).to(values.device)

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
        more = self.input_shape[1] - len(self.columns)
        return shown_of(self._file, self._windows, name, self._ends(name), more=more)

    def naive_rmse(self, name: PartName = "validation") -> float:
        """Root of the mean squared error, in the file's unit, of repeating the last value as the forecast."""
        levels = self._windows.levels(self._ends(name))
        last = self.known_before(name, 1).reshape(levels.shape)
        return float(np.sqrt(np.mean(np.square(levels - last))))

    def fitted(self) -> dict[str, Any]:
        given = self.hparams
        return super().fitted() | {
            "columns": [list(self.targets), list(self.feature_names)],
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
            **self._known(),
            "step": step_of(self.times[start : start + self._file.lengths[longest]]),
            "reading": reading,
        }

    def _known(self) -> dict[str, Any]:
        """What the columns that are known in advance are made of."""
        return {"calendar": list(self._calendar), "holidays": self._holidays, "days of a step": self._days}

    def write_sample(self, folder: Path, count: int) -> Path:
        """The first window of the validation part, with the steps before it that differences need."""
        [end, *_] = self._ends("validation")
        given, path = self.hparams, folder / "sample.csv"
        writing = {"sep": given["separator"] or ",", "decimal": given["decimal"], "encoding": given["encoding"]}
        write_window(self._file, self._windows, end, path, id=given["id"], **writing)
        return path

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
        return super().describe() | described(self._file, np.concatenate(self.rows[:2]))

    def known_before(self, name: PartName, lag: int) -> Floats:
        """For each value of a part's forecasts, the last known one at the same point of a season of `lag` steps.

        With a lag of 1, the last value of the window; with 0, nothing; (windows, outputs), in the data's unit.
        """
        return self._windows.known_before(self._ends(name), lag)

    @property
    def season(self) -> int:
        """Steps of a season; 0 where none is given."""
        return int(self.hparams["period"])

    def _ends(self, name: PartName) -> Ints:
        """The last input's row of each window of a part (windows,)."""
        ends = self._windows.ends(name)
        if not len(ends) and len(getattr(self.rows, name)):
            raise ValueError(
                f"{self._who}: no window of the {name} part has {self.horizon} measured values to forecast"
            )
        return ends

    @property
    def _who(self) -> str:
        return f"Series: {self.hparams['path']}"

    def _check_train_windows(self) -> None:
        if (count := len(self._ends("train"))) < 2:
            raise ValueError(
                f"{self._who}: {count} window of {self.window} steps is left in the training part, which needs two at "
                f"least: a stride of {self.hparams['stride']} or the gaps in the targets leave no more"
            )


def _days_of_step(times: Moments) -> float:
    """From one time to the next, in days; 0 of a single time."""
    return float(np.median(np.diff(times)) / np.timedelta64(1, "D")) if len(times) > 1 else 0.0
