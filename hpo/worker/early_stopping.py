"""Early stopping: whether a curve has reached a plateau."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.study.states import Direction


def has_plateaued(curve: Sequence[float], *, patience: int, min_delta: float, direction: Direction) -> bool:
    """Whether the last `patience` values brought no improvement of more than `min_delta`."""
    best, since = None, 0
    for value in curve:
        gain = 0.0 if best is None else direction.gain(value, best)
        if best is None or gain > min_delta:
            best, since = value, 0
        else:
            since += 1
    return since >= patience
