"""Series to forecast: windows of the past as inputs, the next values as targets, split by time."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from hpo.space import Choice, Int
from models.data.base import DataModule, Part, PartName, Samples
from models.data.series_file import read_series
from models.data.splits import Ints, Rows, check_fractions, time_split
from models.data.timed_file import Floats, Moments, text_of

Differencing = Annotated[Literal["none", "first", "seasonal"], Choice()]
Scaling = Annotated[Literal["none", "standard", "min_max"], Choice()]
Interpolation = Literal["none", "linear", "previous"]


class Series(DataModule):
    """Forecasts for a file with a row for each point in time: the next `horizon` values from the last `window`.

    Batches are inputs (batch, window, columns), the targets' columns first, and targets (batch, horizon * values),
    the values of the first step first; both float32. Parts are spans of time: the earliest is for training, the last
    is the test. All targets of a window are in its part; the inputs of a validation window may reach back into the
    training span, as they would in use. So every trial is scored on the same points in time, with any window.

    A window has no values from after its end: a gap at its end is filled with the last measured value. Targets that
    were not measured are neither trained nor scored.

    A window that is too long for the training part is cut to the longest that fits, with a warning, so that a searched
    range also works for short series.

    Differencing: inputs are the values (none), minus the values before (first), or minus those one `period` before
    (seasonal; without a period it is as first). Targets are the values, minus the last known one, or minus the known
    one at the same point of the season: so errors are in the unit of the file and comparable for all choices, and
    `restore` returns the values.

    Args:
        path: of a .csv or .tsv file; a relative one starts from the current folder, in a study from the project.
        time: the column of dates or numbers, ascending; by default the first.
        target: the column to forecast, or several, comma separated; by default the only other one.
        features: columns of the inputs besides the targets, comma separated, or `all`.
        stride: steps between the starts of training windows.
        interpolation: of gaps: linear, previous value, or none, which refuses them.
        every: resamples irregular times to a grid, such as 7D, 1h, MS, by the mean of each step.
        separator, decimal, encoding: of the file; by default a comma, or in .tsv a tab; a point; and utf-8.

    Raises:
        ValueError: the file or an argument is invalid.
    """

    task = "regression"

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
    ) -> None:
        super().__init__()
        check_fractions(validation_fraction, test_fraction, who="Series")
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
        names = ("time", "target", "features", "every", "separator", "decimal", "encoding")
        self._file = read_series(self.hparams["path"], **{name: self.hparams[name] for name in names})
        return Samples(self._file.values, keys=self._file.times)

    def prepare(self) -> None:
        given = self.hparams
        self._values, _, self.times = self.read()
        self.targets, self.columns = self._file.targets, self._file.columns
        self._check_gaps()
        self.rows = time_split(len(self._values), given["validation_fraction"], given["test_fraction"])
        self.window = self._fitting_window(self.rows)
        self._fill = _Fill(self._values, given["interpolation"])
        self.outputs = self.horizon * len(self.targets)
        self.input_shape = (self.window, len(self.columns))
        self._shift, self._scale = _fit(self._differences(self._train_rows(), self.rows.train[-1:]), given["scaling"])
        targets = self._targets("train")
        self._mean, deviation = targets.mean(axis=0), targets.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        self.target_mean, self.target_scale = tuple(self._mean.tolist()), tuple(self._deviation.tolist())

    def part(self, name: PartName) -> Part:
        ends = self._ends(name)
        steps = ends[:, None] + np.arange(1 - self.window, 1)
        inputs = (self._differences(steps, ends) - self._shift) / self._scale
        targets = (self._targets(name) - self._mean) / self._deviation
        return Part(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets.astype(np.float32)))

    def restore(self, name: PartName, values: Tensor) -> Tensor:
        """Levels of a part's predictions or targets (windows, outputs), which are already in the data's unit."""
        return values + torch.from_numpy(self._references(name)).to(values.device)

    def target_times(self, name: PartName) -> Moments:
        """The time of the first value of each window's forecast (windows,)."""
        moments: Moments = self.times[self._ends(name) + 1]
        return moments

    def naive_rmse(self, name: PartName = "validation") -> float:
        """Root of the mean squared error, in the file's unit, of repeating the last value as the forecast."""
        ends = self._ends(name)
        last = self._fill.at(ends[:, None], ends)[:, :, : len(self.targets)]
        return float(np.sqrt(np.mean(np.square(self._levels(ends) - last))))

    def describe(self) -> dict[str, Any]:
        known = self._values[: self.rows.validation[-1] + 1]
        gaps = {name: int(count) for name, count in zip(self.columns, np.isnan(known).sum(axis=0), strict=True)}
        span = f"{text_of(self.times[0])} to {text_of(self.times[len(known) - 1])}"
        return super().describe() | {"train and validation": span, "missing in train and validation": gaps}

    def _ends(self, name: PartName) -> Ints:
        """The last input's row of each window whose targets are measured and in this part (windows,)."""
        rows: Ints = getattr(self.rows, name)
        if not len(rows):
            return rows
        least = self.window - 1 + self._lag
        ends = np.arange(max(rows[0] - 1, least), rows[-1] - self.horizon + 1)
        ends = ends[:: self.hparams["stride"]] if name == "train" else ends
        known: Ints = ends[~np.isnan(self._levels(ends)).any(axis=(1, 2))]
        if not len(known):
            raise ValueError(
                f"{self._who}: no window of the {name} part has {self.horizon} measured values to forecast"
            )
        return known

    def _levels(self, ends: Ints) -> Floats:
        """The values that follow each window (windows, horizon, values), NaN in gaps."""
        ahead = ends[:, None] + np.arange(1, self.horizon + 1)
        levels: Floats = self._values[ahead][:, :, : len(self.targets)]
        return levels

    def _references(self, name: PartName) -> Floats:
        """The references that are subtracted from the levels (windows, outputs): known values, for any horizon."""
        ends = self._ends(name)
        if self._lag == 0:
            return np.zeros((len(ends), self.outputs))
        ahead = np.arange(1, self.horizon + 1)
        seasons_back = -(-ahead // self._lag) * self._lag
        known = self._fill.at(ends[:, None] + ahead - seasons_back, ends)
        return known[:, :, : len(self.targets)].reshape(len(ends), -1)

    def _targets(self, name: PartName) -> Floats:
        ends = self._ends(name)
        return self._levels(ends).reshape(len(ends), -1) - self._references(name)

    def _train_rows(self) -> Ints:
        return self.rows.train[None, self._lag :]

    def _differences(self, steps: Ints, ends: Ints) -> Floats:
        """Inputs (windows, steps, columns) before scaling, from values up to each window's end."""
        now = self._fill.at(steps, ends)
        return now - self._fill.at(steps - self._lag, ends) if self._lag else now

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

    def _fitting_window(self, rows: Rows) -> int:
        """The window, cut to the longest that fits into the training part."""
        window: int = self.hparams["window"]
        lag = f", differences over {self._lag}" if self._lag else ""
        longest = len(rows.train) - self._lag - self.horizon
        if longest < 1:
            raise ValueError(
                f"{self._who}: the training part has {len(rows.train)} of {len(self._values)} steps: too few for a "
                f"window of 1 step{lag} and a horizon of {self.horizon}"
            )
        if window > longest:
            warnings.warn(
                f"{self._who}: a window of {window} steps{lag} and a horizon of {self.horizon} do not fit into the "
                f"{len(rows.train)} steps of the training part: windows of {longest} are used",
                stacklevel=2,
            )
        for name in ("validation", "test"):
            steps = len(getattr(rows, name))
            if steps < self.horizon and (steps or self.hparams[f"{name}_fraction"] or name == "validation"):
                raise ValueError(
                    f"{self._who}: a horizon of {self.horizon} is longer than the {name} part, {steps} steps"
                )
        return min(window, longest)


class _Fill:
    """Values (times, columns) with their gaps filled from values up to a point in time."""

    def __init__(self, values: Floats, interpolation: str) -> None:
        measured = ~np.isnan(values)
        rows = np.arange(len(values))
        self._last = np.maximum.accumulate(np.where(measured, rows[:, None], 0), axis=0)
        self._previous = np.take_along_axis(values, self._last, axis=0)
        self._between = self._previous
        self._looks_ahead = interpolation == "linear" and not measured.all()
        if self._looks_ahead:
            columns = [
                np.interp(rows, rows[is_there], v[is_there]) for v, is_there in zip(values.T, measured.T, strict=True)
            ]
            self._between = np.stack(columns, axis=1)

    def at(self, steps: Ints, ends: Ints) -> Floats:
        """(windows, steps, columns) of rows `steps` (windows, steps), from values up to `ends` (windows,) only."""
        if not self._looks_ahead:
            return self._previous[steps]
        in_last_gap = steps[:, :, None] > self._last[ends][:, None, :]
        return np.where(in_last_gap, self._previous[steps], self._between[steps])


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
