"""Fills the gaps of series without looking ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # what an exported model's predict.py is made of needs NumPy alone
    from models.data.splits import Ints
    from models.data.timed_file import Floats


class Fill:
    """Values (times, columns) with their gaps filled from values up to a point in time.

    Of several series that follow each other, each begins with a value in every column, so that no gap reaches back into
    the one before.

    Args:
        interpolation: linear, or the previous value.
    """

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
