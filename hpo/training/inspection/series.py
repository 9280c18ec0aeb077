"""A series that is forecast, in the order of time, from the targets by the data module's `restore`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from hpo.training.inspection.samples import Array, Samples


class Span(NamedTuple):
    """The times and the values of each forecast's first step, in one part; both (samples,)."""

    part: str
    times: Array
    values: Array


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


def spans_of(data: Any, parts: Sequence[Samples]) -> tuple[Span, ...]:
    """A span for each part, for a data module with a `horizon` and a method `restore`; none for any other."""
    restore = getattr(data, "restore", None)
    if not callable(restore) or not hasattr(data, "horizon"):
        return ()
    spans: list[Span] = []
    for samples in parts:
        if samples.targets is None or not samples.is_whole:
            return ()
        levels = restore(samples.part, torch.from_numpy(samples.targets))
        values = np.asarray(levels.numpy()).reshape(samples.seen, -1)[:, 0]
        before = sum(len(span.values) for span in spans)
        due = getattr(data, "target_times", None)
        times = due(samples.part) if callable(due) else np.arange(before, before + len(values))
        spans.append(Span(samples.part, np.asarray(times), values))
    return tuple(spans)
