"""A description of data in numbers and text: its parts, its features, a few of its samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Array, Samples

EXAMPLES = 3
VALUES_IN_WORDS = 6
MOST_TO_SORT = 1_000_000  # values of a feature whose distinct values are counted


def part_facts(layout: Layout, samples: Samples) -> dict[str, Any]:
    """One part: its size, the shapes of inputs and targets, the class counts, the lengths of sequences."""
    targets = samples.targets
    facts: dict[str, Any] = {
        "part": samples.part,
        "samples": samples.total,
        "looked_at": samples.seen,
        "batches": samples.batches,
        "inputs": [_shape(layout.input_name(name), array) for name, array in samples.inputs.items()],
        "targets": None if targets is None else _shape("targets", targets),
        "missing": sum(_not_finite(array) for array in samples.inputs.values()),
    }
    if layout.has_classes and targets is not None:
        facts["classes"] = dict(zip(layout.classes, layout.class_counts(samples), strict=False))
    elif layout.outputs and targets is not None and not layout.is_reconstruction:
        values = targets.reshape(len(targets), -1)
        facts["values"] = [summary(name, values[:, n]) for n, name in enumerate(layout.outputs)]
    lengths = layout.length_of(samples)
    if lengths is not None:
        facts["lengths"] = {
            "shortest": int(lengths.min()),
            "median": float(np.median(lengths)),
            "longest": int(lengths.max()),
        }
    return facts


def feature_facts(layout: Layout, train: Samples) -> list[dict[str, Any]]:
    """A summary of each column, channel or feature in the training part."""
    values = layout.values(train)
    names = layout.features if len(layout.features) == values.shape[1] else ("values",)
    if len(names) != values.shape[1]:
        values = values.reshape(-1, 1)
    return [summary(name, values[:, number]) for number, name in enumerate(names)]


def summary(name: str, values: Array) -> dict[str, Any]:
    """Range, mean and standard deviation of the finite values."""
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {"name": name, "missing": len(values) - len(finite)}
    if len(finite):
        found |= {
            "min": json_value(finite.min()),
            "max": json_value(finite.max()),
            "mean": json_value(finite.mean(dtype=np.float64)),
            "std": json_value(finite.std(dtype=np.float64)),
        }
        if len(finite) <= MOST_TO_SORT:
            found["distinct"] = len(np.unique(finite))
    return found


def examples_in_words(layout: Layout, train: Samples) -> list[str]:
    """The first samples of the training part, one line each."""
    return [_in_words(layout, train, row) for row in range(min(EXAMPLES, train.seen))]


def _in_words(layout: Layout, samples: Samples, row: int) -> str:
    if layout.kind == "table":
        shown = layout.columns(samples)[row]
        text = ", ".join(
            f"{name}={short(value)}" for name, value in list(zip(layout.features, shown, strict=True))[:VALUES_IN_WORDS]
        )
        text += f", ... ({len(shown)} columns)" if len(shown) > VALUES_IN_WORDS else ""
    elif layout.kind == "sequences":
        lengths = layout.length_of(samples)
        assert lengths is not None
        steps = samples.inputs[layout.main][row]
        first = ", ".join(short(value) for value in steps[0][:VALUES_IN_WORDS])
        more = ", ..." if steps.shape[1] > VALUES_IN_WORDS else ""
        features = "1 feature" if steps.shape[1] == 1 else f"{steps.shape[1]} features"
        text = f"{int(lengths[row])} steps of {features}, the first ({first}{more})"
    else:
        array = samples.inputs[layout.main][row]
        shape = " x ".join(map(str, array.shape))
        least, most, mean = (short(number) for number in (np.nanmin(array), np.nanmax(array), np.nanmean(array)))
        text = f"{shape} values from {least} to {most}, mean {mean}"
    return text + _target_in_words(layout, samples, row)


def _target_in_words(layout: Layout, samples: Samples, row: int) -> str:
    if samples.targets is None:
        return ""
    target = samples.targets[row]
    if layout.is_reconstruction:
        return " -> itself"
    values = target.reshape(-1)
    if layout.has_classes:
        names = [
            layout.classes[int(value)] if 0 <= value < len(layout.classes) else "none"
            for value in values[: VALUES_IN_WORDS + 1]
        ]
    else:
        names = [short(value) for value in values[: VALUES_IN_WORDS + 1]]
    more = ", ..." if len(values) > VALUES_IN_WORDS else ""
    return " -> " + ", ".join(names[:VALUES_IN_WORDS]) + more


def short(value: Any) -> str:
    """Four significant digits, or a whole number where there are five to nine digits before the point."""
    number = float(value)
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:.4g}"


def _shape(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape[1:]), "type": str(array.dtype)}


def _not_finite(array: Array) -> int:
    return int(array.size - np.count_nonzero(np.isfinite(array)))


def json_value(value: Any) -> Any:
    """The value converted for JSON: other types become texts, numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return json_value(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
