"""The layout of samples: rows of a table, images or sequences; the roles of the inputs; the meaning of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hpo.training.inspection.samples import Array, Samples
from hpo.training.inspection.series import Span, filled_of, is_forecast, spans_of

Kind = Literal["table", "images", "sequences", "arrays"]
Task = Literal["binary", "multiclass", "regression", "none"]

FEWEST_PIXELS = 8  # in each direction, for a square of numbers to be an image rather than a sequence
IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Layout:
    """The roles and names of a sample's inputs and targets.

    Attributes:
        main: the input that is described.
        categories: the input with a table's categories as class numbers, beside its numbers.
        lengths: the input with the number of valid steps of each sequence.
        features: names of a table's columns, those of `categories` last, or of a sequence's values at each step.
        classes: names, in the order of their numbers; empty unless targets are classes.
        outputs: names of the values of a regression.
        is_per_step: there is a target for each step of a sequence.
        is_reconstruction: targets are the inputs themselves.
        spans: the series that is forecast, part by part; empty for other data.
        filled: which inputs of the training windows of a series were filled in; None where it is not known.
        meaning: of the values of sequences, such as a difference.
        horizon: the number of steps that targets are ahead; of each step, the targets are all forecast values.
    """

    kind: Kind
    task: Task
    main: str
    categories: str | None
    lengths: str | None
    features: tuple[str, ...]
    classes: tuple[str, ...]
    outputs: tuple[str, ...]
    is_per_step: bool
    is_reconstruction: bool
    spans: tuple[Span, ...]
    filled: Array | None = None
    meaning: str = "value"
    horizon: int = 1

    @property
    def has_classes(self) -> bool:
        return self.task in ("binary", "multiclass")

    def input_name(self, name: str) -> str:
        """The role of an input where it is known, else its name."""
        return {self.categories: "categories", self.lengths: "lengths"}.get(name, name)

    def columns(self, samples: Samples) -> Array:
        """A table's numbers, followed by its categories: (samples, columns)."""
        main = _two_dimensional(samples.inputs[self.main])
        if self.categories is None:
            return main
        return np.concatenate([main, _two_dimensional(samples.inputs[self.categories])], axis=1)

    def steps(self, samples: Samples) -> Array:
        """The values of sequences at each valid step: (steps of all samples, features)."""
        main: Array = samples.inputs[self.main]
        if self.lengths is None:
            return main.reshape(-1, main.shape[-1])
        joined: Array = main[self._is_valid(samples)]
        return joined

    def channels(self, samples: Samples) -> Array:
        """Pixels of images by channel: (pixels of all samples, channels)."""
        main = images_of(samples.inputs[self.main])
        return main.reshape(-1, main.shape[-1])

    def values(self, samples: Samples) -> Array:
        """All values (rows, features): columns, steps or pixels, depending on the kind."""
        methods = {"table": self.columns, "sequences": self.steps, "images": self.channels}
        flat = methods.get(self.kind)
        return flat(samples) if flat else samples.inputs[self.main].reshape(-1, 1)

    def class_numbers(self, samples: Samples) -> Array:
        """Class numbers (labels,) of all samples, or of all their valid steps."""
        targets = samples.targets
        assert targets is not None
        if self.is_per_step and self.lengths is not None:
            targets = targets[self._is_valid(samples)]
        numbers = targets.reshape(-1)
        return np.asarray(numbers[np.isfinite(numbers) & (numbers >= 0)], dtype=np.int64)

    def class_counts(self, samples: Samples) -> list[int]:
        return [int(n) for n in np.bincount(self.class_numbers(samples), minlength=len(self.classes))]

    def predictors(self, samples: Samples) -> tuple[Array, Array]:
        """Columns and targets, a row for each target, to search for a column that reveals it."""
        targets = samples.targets
        assert targets is not None
        if not self.is_per_step:
            flat = [_two_dimensional(samples.inputs[name]) for name in (self.main, self.categories) if name]
            return np.concatenate(flat, axis=1), targets
        valid = self._is_valid(samples)
        columns, targets = samples.inputs[self.main][valid], targets[valid]
        known = np.isfinite(targets.reshape(len(targets), -1)).all(axis=1) & (
            targets.reshape(len(targets), -1)[:, 0] >= 0
        )
        return (columns[known], targets[known]) if self.has_classes else (columns, targets)

    def column_name(self, column: int, samples: Samples) -> str:
        """The name of a column of `predictors`."""
        if self.kind == "table":
            return f"column '{self.features[column]}'"
        if self.is_per_step:
            return f"'{self.features[column]}' of the same step"
        shape = samples.inputs[self.main].shape[1:]
        if self.kind == "sequences":
            step, feature = np.unravel_index(column, shape)
            return f"'{self.features[feature]}' of step {step + 1}"
        return f"the value at {tuple(int(at) for at in np.unravel_index(column, shape))}"

    def length_of(self, samples: Samples) -> Array | None:
        """The number of valid steps of each sequence; None for other kinds."""
        if self.kind != "sequences":
            return None
        main = samples.inputs[self.main]
        return samples.inputs[self.lengths] if self.lengths else np.full(len(main), main.shape[1])

    def _is_valid(self, samples: Samples) -> Array:
        """Whether a step is within its sequence's length: (samples, time)."""
        main = samples.inputs[self.main]
        if self.lengths is None:
            return np.ones(main.shape[:2], dtype=bool)
        return np.asarray(np.arange(main.shape[1]) < samples.inputs[self.lengths][:, None])


def layout_of(data: Any, parts: Sequence[Samples]) -> Layout:
    """The layout, from attributes of the data module, and from shapes and types where it has none."""
    train = parts[0]
    main = next((name for name, array in train.inputs.items() if array.ndim > 1), next(iter(train.inputs)))
    others = [name for name in train.inputs if name != main]
    array = train.inputs[main]
    lengths = next((name for name in others if _are_lengths(train.inputs[name], array)), None)
    kind = "sequences" if is_forecast(data) and array.ndim == 3 else _kind(array, has_lengths=lengths is not None)
    categories = next((name for name in others if kind == "table" and _are_categories(train.inputs[name])), None)
    task = _task(data, parts)
    targets = train.targets
    columns = array.shape[-1] if array.ndim > 1 else 1
    if kind == "images":
        features: tuple[str, ...] = _channel_names(images_of(array[:1]).shape[-1])
    else:
        more = train.inputs[categories].shape[1] if categories else 0
        features = _names(data, ("feature_names", "channel_names", "columns"), columns + more, "feature")
        named = _names_in(data, ("category_names",))
        if len(named) == more > 0:
            features = features[:columns] + named
    is_per_step = (
        kind == "sequences"
        and targets is not None
        and array.ndim == 3
        and (lengths is not None or task != "regression" or bool(getattr(data, "per_step", False)))
        and targets.ndim > 1
        and targets.shape[1] == array.shape[1]
    )
    return Layout(
        kind=kind,
        task=task,
        main=main,
        categories=categories,
        lengths=lengths,
        features=features,
        classes=_class_names(data, parts) if task in ("binary", "multiclass") else (),
        outputs=_output_names(data, targets) if task == "regression" and targets is not None else (),
        is_per_step=is_per_step,
        is_reconstruction=targets is not None and targets.shape == array.shape and np.array_equal(targets, array),
        spans=spans_of(data, parts),
        filled=filled_of(data, train, array.shape),
        meaning=str(getattr(data, "input_meaning", "value")),
        horizon=int(data.horizon) if is_forecast(data) else 1,
    )


def images_of(array: Array) -> Array:
    """Images as (samples, height, width, channels), from either order of the axes."""
    if array.ndim == 3:
        return array[..., None]
    return np.moveaxis(array, 1, -1) if array.shape[1] in IMAGE_CHANNELS else array


def _kind(array: Array, *, has_lengths: bool) -> Kind:
    shape = array.shape[1:]
    if len(shape) <= 1:
        return "table"
    if len(shape) == 2 and not has_lengths and shape[0] == shape[1] >= FEWEST_PIXELS:
        return "images"
    if len(shape) == 2:
        return "sequences"
    if len(shape) == 3 and (shape[0] in IMAGE_CHANNELS or shape[-1] in IMAGE_CHANNELS):
        return "images"
    return "arrays"


def _are_lengths(array: Array, main: Array) -> bool:
    if array.ndim != 1 or main.ndim != 3 or not np.issubdtype(array.dtype, np.integer):
        return False
    return bool(array.min() >= 0 and array.max() <= main.shape[1])


def _are_categories(array: Array) -> bool:
    return array.ndim == 2 and np.issubdtype(array.dtype, np.integer)


def _task(data: Any, parts: Sequence[Samples]) -> Task:
    seen = [part.targets for part in parts if part.targets is not None]
    if not seen:
        return "none"
    task = getattr(data, "task", None)
    if task in ("binary", "multiclass", "regression"):
        return task  # type: ignore[no-any-return]
    is_whole = all(np.issubdtype(targets.dtype, np.integer) or targets.dtype == bool for targets in seen)
    values = {float(value) for targets in seen for value in np.unique(targets)[:3]}
    if values <= {0.0, 1.0} and (is_whole or seen[0].reshape(len(seen[0]), -1).shape[1] == 1):
        return "binary"
    return "multiclass" if is_whole else "regression"


def _class_names(data: Any, parts: Sequence[Samples]) -> tuple[str, ...]:
    named = _names_in(data, ("class_names", "classes"))
    most = max(int(np.nanmax(part.targets)) for part in parts if part.targets is not None) + 1
    if len(named) >= most:
        return named
    return tuple(str(number) for number in range(max(2, most)))


def _output_names(data: Any, targets: Array) -> tuple[str, ...]:
    count = int(np.prod(targets.shape[1:], dtype=int))
    named, horizon = _names_in(data, ("targets", "target_names")), getattr(data, "horizon", 1)
    if named and horizon != 1 and len(named) * horizon == count:
        return tuple(f"{name}, {step} ahead" for step in range(1, horizon + 1) for name in named)
    return _names(data, ("targets", "target_names"), count, "value") if named or count > 1 else ("target",)


def _names(data: Any, attributes: tuple[str, ...], count: int, word: str) -> tuple[str, ...]:
    names = _names_in(data, attributes)
    if len(names) == count:
        return names
    if names and len(names) < count:  # columns without a name follow, such as indicators of missing values
        return names + tuple(f"{word} {number}" for number in range(len(names) + 1, count + 1))
    return tuple(f"{word} {number}" for number in range(1, count + 1))


def _names_in(data: Any, attributes: tuple[str, ...]) -> tuple[str, ...]:
    """The first of these attributes that is a list of names."""
    for attribute in attributes:
        found = getattr(data, attribute, None)
        if isinstance(found, list | tuple) and found:
            return tuple(map(str, found))
    return ()


def _channel_names(count: int) -> tuple[str, ...]:
    return {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}.get(
        count, tuple(f"channel {number}" for number in range(1, count + 1))
    )


def _two_dimensional(array: Array) -> Array:
    return array.reshape(len(array), -1)
