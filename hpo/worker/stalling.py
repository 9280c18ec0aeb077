"""Early stopping: when a curve has stopped to improve."""

from __future__ import annotations

from collections.abc import Sequence


def has_stalled(curve: Sequence[float], *, patience: int, min_delta: float, maximize: bool) -> bool:
    """Whether the last `patience` values brought no improvement of more than `min_delta`."""
    best, since = None, 0
    for value in curve:
        gain = 0.0 if best is None else (value - best if maximize else best - value)
        if best is None or gain > min_delta:
            best, since = value, 0
        else:
            since += 1
    return since >= patience
