"""A series that is forecast, in the order of time, from the targets by the data module's `restore`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from hpo.training.inspection.samples import Array, Samples


class Span(NamedTuple):
    """One series in one part: the times and the values of each forecast's first step, both (samples,).

    series: its name; empty where there is one only.
    gaps: the times at which nothing was measured. rows: the samples' numbers in the part.
    """

    part: str
    times: Array
    values: Array
    series: str = ""
    gaps: Array = np.empty(0)
    rows: Array = np.empty(0, dtype=int)


def in_own_unit(data: Any, parts: Sequence[Samples]) -> list[Samples]:
    """The parts with targets in the data's unit, if the data module has the mean and scale of their standardisation."""
    mean, scale = (np.asarray(getattr(data, name, ()), dtype=np.float64) for name in ("target_mean", "target_scale"))
    found = []
    for samples in parts:
        targets = samples.targets
        if targets is not None and targets.ndim == 2 and len(mean) == len(scale) == targets.shape[1]:
            samples = dataclasses.replace(samples, targets=(targets * scale + mean).astype(targets.dtype))
        found.append(samples)
    return found


def is_forecast(data: Any) -> bool:
    """Whether the data module cuts windows of a series: it has a `horizon` and a method `restore`."""
    return callable(getattr(data, "restore", None)) and hasattr(data, "horizon")


def spans_of(data: Any, parts: Sequence[Samples]) -> tuple[Span, ...]:
    """A span for each part and series of a forecast; none for other data."""
    if not is_forecast(data) or any(samples.targets is None or not samples.is_whole for samples in parts):
        return ()
    spans: list[Span] = []
    for samples in parts:
        levels = data.restore(samples.part, torch.from_numpy(samples.targets))
        values = np.asarray(levels.numpy()).reshape(samples.seen, -1)[:, 0]
        before = sum(len(span.values) for span in spans)
        due = getattr(data, "target_times", None)
        times = np.asarray(due(samples.part)) if callable(due) else np.arange(before, before + len(values))
        shown = _shown(data, samples.part)
        numbers, names = shown.get("series", np.zeros(len(values), dtype=int)), shown.get("names", ("",))
        gaps = shown.get("gaps", {})
        for number, name in enumerate(names):
            rows = np.flatnonzero(numbers == number)
            spans.append(Span(samples.part, times[rows], values[rows], name, gaps.get(name, np.empty(0)), rows))
    return tuple(spans)


def filled_of(data: Any, train: Samples, shape: tuple[int, ...]) -> Array | None:
    """Which inputs of training windows were filled in, in the shape of the inputs; None where it is not known."""
    found = _shown(data, train.part).get("filled") if is_forecast(data) and train.is_whole else None
    return found if found is not None and found.shape == shape else None


def _shown(data: Any, part: str) -> Mapping[str, Any]:
    """The answer of the data module's method `shown`, if it has one.

    series: of each window, the number of its name among `names`. gaps: times without a measurement, by the name of
    their series. filled: which inputs are no measurements (windows, steps, features).
    """
    ask = getattr(data, "shown", None)
    found = ask(part) if callable(ask) else {}
    return found if isinstance(found, Mapping) else {}
