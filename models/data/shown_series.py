"""What is shown of series: facts and marks beside their windows, and a sample as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.data.base import PartName
from models.data.series_file import Measured
from models.data.splits import Ints
from models.data.timed_file import text_of
from models.data.windows import Windows


def shown_of(file: Measured, windows: Windows, name: PartName, ends: Ints, *, more: int) -> dict[str, Any]:
    """Of a part's windows, what models.data.series:Series.shown gives.

    Args:
        more: columns of the inputs that are not in the file.
    """
    missing: NDArray[np.bool_] = np.isnan(file.values)
    steps = windows.rows(ends)
    filled = missing[steps] | missing[steps - windows.lag]
    no_target = np.asarray(missing[:, : windows.targets].any(axis=1))
    gaps = [rows[no_target[rows]] for rows in (getattr(its, name) for its in windows.parts)]
    return {
        "series": _number_of(file, ends),
        "names": file.names,
        "gaps": {series: file.times[rows] for series, rows in zip(file.names, gaps, strict=True)},
        "filled": np.pad(filled, ((0, 0), (0, 0), (0, more))),
    }


def described(file: Measured, rows: Ints) -> dict[str, Any]:
    """Facts on these rows, for `hpo data describe`."""
    known, times = file.values[rows], file.times[rows]
    gaps = {name: int(count) for name, count in zip(file.columns, np.isnan(known).sum(axis=0), strict=True)}
    span = f"{text_of(times.min())} to {text_of(times.max())}"
    facts = {"train and validation": span, "missing in train and validation": gaps}
    return facts | ({"series": len(file.lengths)} if len(file.lengths) > 1 else {})


def write_window(file: Measured, windows: Windows, end: int, path: Path, *, id: str, **writing: str) -> None:
    """A window as a file, with the steps before it that differences need."""
    rows = np.arange(end - windows.steps - windows.lag + 1, end + 1)
    names = {id: file.names[int(_number_of(file, np.array([end]))[0])]} if id else {}
    values = dict(zip(file.columns, windows.fill.at(rows[None], np.array([end]))[0].T, strict=True))
    frame = pd.DataFrame({**names, file.time: file.times[rows], **values})
    frame.to_csv(path, index=False, **writing)  # type: ignore[call-overload]


def _number_of(file: Measured, rows: Ints) -> Ints:
    """The number of the series that each row is of."""
    numbers: Ints = np.searchsorted(np.cumsum(file.lengths), rows, side="right")
    return numbers
