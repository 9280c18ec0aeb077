"""Windows of series: where they end in each part of time, the values in them, and those that they are to forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.data.base import PartName
from models.data.differences import differences, references
from models.data.gaps import Fill
from models.data.splits import Ints, Rows, time_split
from models.data.timed_file import Floats


@dataclass(frozen=True)
class Windows:
    """All windows of some series, which follow each other in `values`.

    Attributes:
        values: (times, columns), the targets first, NaN in gaps. fill: the same without gaps.
        parts: the rows of each part, of each series.
        steps: of a window. stride: from one training window to the next. horizon: steps of a forecast.
        lag: differences are from so many steps before; 0 for none.
        targets: columns to forecast.
    """

    values: Floats
    fill: Fill
    parts: Sequence[Rows]
    steps: int
    stride: int
    horizon: int
    lag: int
    targets: int

    def ends(self, name: PartName) -> Ints:
        """The last input's row of each window whose targets are measured and in this part (windows,)."""
        ends = np.concatenate([self._ends_in(its, name) for its in self.parts])
        known: Ints = ends[~np.isnan(self.levels(ends)).any(axis=(1, 2))]
        return known

    def rows(self, ends: Ints) -> Ints:
        """The rows in each window (windows, steps)."""
        return ends[:, None] + np.arange(1 - self.steps, 1)

    def inputs(self, ends: Ints) -> Floats:
        """Values or differences in each window (windows, steps, columns)."""
        return differences(self.fill, self.rows(ends), ends, lag=self.lag)

    def levels(self, ends: Ints) -> Floats:
        """The values that follow each window (windows, horizon, values), NaN in gaps."""
        ahead = ends[:, None] + np.arange(1, self.horizon + 1)
        levels: Floats = self.values[ahead][:, :, : self.targets]
        return levels

    def known_before(self, ends: Ints, lag: int) -> Floats:
        """For each value of the forecasts, the last known one at the same point of a season (windows, outputs)."""
        return references(self.fill, ends, lag=lag, horizon=self.horizon, targets=self.targets)

    def wanted(self, ends: Ints) -> Floats:
        """The values that follow, or their differences from known ones, as `lag` says (windows, outputs)."""
        return self.levels(ends).reshape(len(ends), -1) - self.known_before(ends, self.lag)

    def scaling(self, kind: str) -> tuple[Floats | float, Floats | float]:
        """The offset and the scale of the inputs' columns in the training parts."""
        trained = np.concatenate(
            [differences(self.fill, its.train[None, self.lag :], its.train[-1:], lag=self.lag)[0] for its in self.parts]
        )
        match kind:
            case "standard":
                shift, scale = trained.mean(axis=0), trained.std(axis=0)
            case "min_max":
                shift, scale = trained.min(axis=0), np.ptp(trained, axis=0)
            case _:
                return 0.0, 1.0
        return shift, np.where(scale > 0, scale, 1.0)

    def _ends_in(self, its: Rows, name: PartName) -> Ints:
        """Of one series, measured or not."""
        rows: Ints = getattr(its, name)
        if not len(rows):
            return rows
        least = its.train[0] + self.steps - 1 + self.lag
        ends = np.arange(max(rows[0] - 1, least), rows[-1] - self.horizon + 1)
        return ends[:: self.stride] if name == "train" else ends


def parts_of_series(lengths: Sequence[int], validation_fraction: float, test_fraction: float) -> list[Rows]:
    """The rows of each part of each series, whose steps follow each other."""
    starts = np.cumsum([0, *lengths[:-1]])
    splits = (time_split(length, validation_fraction, test_fraction) for length in lengths)
    return [Rows(*(rows + start for rows in parts)) for start, parts in zip(starts, splits, strict=True)]
