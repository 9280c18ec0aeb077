"""The length of a series' windows: as given, or cut so that even the shortest series has enough of them to train on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from models.data.splits import Rows

LEAST_WINDOWS = 16


def fitting_window(
    window: int, series: Sequence[Rows], names: Sequence[str], *, lag: int, horizon: int, test_fraction: float, who: str
) -> int:
    """The window, cut with a warning to the longest that leaves enough windows in the shortest training part.

    Args:
        series: the rows of each series' parts.
        names: of the series; an empty one for a single series.
        lag: the steps that differences reach back before a window.
        who: begins each message.

    Raises:
        ValueError: a part is too short for the horizon, or for two windows of one step.
    """
    shortest = min(range(len(series)), key=lambda number: len(series[number].train))
    parts, name = series[shortest], names[shortest]
    steps, whole = len(parts.train), sum(map(len, parts))
    of, differences = f" of series '{name}'" if name else "", f", differences over {lag}" if lag else ""
    fitting = steps - lag - horizon  # windows of one step; each further step costs one
    longest = max((fitting + 1) // 2, fitting + 1 - LEAST_WINDOWS)
    if fitting < 2:
        raise ValueError(
            f"{who}: the training part{of} has {steps} of {whole} steps: too few for two windows of 1 step"
            f"{differences} and a horizon of {horizon}"
        )
    if window > longest:
        warnings.warn(
            f"{who}: a window of {window} steps{differences} and a horizon of {horizon} leave too few windows in the "
            f"{steps} steps of the training part{of}: windows of {longest} are used",
            stacklevel=2,
        )
    for part in ("validation", "test"):
        steps = len(getattr(parts, part))
        if steps < horizon and (steps or test_fraction or part == "validation"):
            raise ValueError(f"{who}: a horizon of {horizon} is longer than the {part} part{of}, {steps} steps")
    return min(window, longest)
