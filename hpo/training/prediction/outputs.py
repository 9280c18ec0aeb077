"""What a model's `predict_step` returns as columns: names of classes, probabilities, values in the target's unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.errors import HpoError

Columns = dict[str, NDArray[Any]]
MOST_COLUMNS = 10_000
PREDICTION = "prediction"


@dataclass(frozen=True)
class Meaning:
    """What a model's outputs mean.

    Attributes:
        class_names: in the order of their numbers; empty for values.
        target_names: of values.
        is_raw: the outputs for classes are logits, since they are those of `forward`.
    """

    class_names: Sequence[str] = ()
    target_names: Sequence[str] = ()
    is_raw: bool = False


@dataclass
class Collected:
    """The outputs of all batches, (rows, ...) each: by name, and without a name of a model that returns a tensor.

    Args:
        meaning: of the outputs.
        steps: (samples,) rows of each sample, where a sample has several.
        reference: (samples, outputs), added to values.
    """

    meaning: Meaning
    steps: NDArray[np.int64] | None = None
    reference: NDArray[np.float64] | None = None
    count: int = 0  # of samples so far
    _parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def add(self, found: Any) -> None:
        """Add what a model returned for the next batch.

        Raises:
            HpoError: it is neither a tensor nor a mapping of names to tensors.
        """
        named = found if isinstance(found, Mapping) else {"": found}
        for name, outputs in named.items():
            if not isinstance(outputs, Tensor) or outputs.ndim == 0:
                raise HpoError(
                    f"predict_step returned {type(outputs).__name__}: it should return a tensor with a row for each "
                    "sample, or a mapping of names to such tensors"
                )
            array = outputs.detach().cpu()
            array = array.float() if array.dtype in (torch.float16, torch.bfloat16) else array
            self._parts.setdefault(str(name), []).append(self._rows_of(array.numpy()))
        self.count += len(next(iter(named.values())))

    def whole(self) -> dict[str, NDArray[Any]]:
        """The outputs (rows, ...) by name; of classes, their probabilities (rows, classes).

        Raises:
            HpoError: there is another number of classes than of outputs.
        """
        whole = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        if set(whole) == {""} and self.meaning.class_names:
            whole[""] = self._probabilities(whole[""])
        return whole

    def _rows_of(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """(rows, outputs)"""
        start, stop = self.count, self.count + len(outputs)
        if self.reference is not None:
            outputs = outputs + self.reference[start:stop]
        if self.steps is None:
            return outputs.reshape(len(outputs), -1)
        width = outputs.shape[2] if outputs.ndim == 3 else max(1, len(self.meaning.target_names))
        if self.meaning.class_names and outputs.ndim == 2:
            width = 1
        several = outputs.reshape(len(outputs), -1, width)
        rows: NDArray[Any] = several[np.arange(several.shape[1]) < self.steps[start:stop, None]]
        return rows

    def _probabilities(self, rows: NDArray[Any]) -> NDArray[Any]:
        names = self.meaning.class_names
        if rows.dtype.kind in "iub":
            rows = np.eye(len(names), dtype=np.float32)[rows.reshape(-1).astype(np.int64)]
        if rows.shape[1] == 1 and len(names) == 2:
            single = 1 / (1 + np.exp(-rows)) if self.meaning.is_raw else rows
            rows = np.hstack([1 - single, single])
        elif self.meaning.is_raw:
            rows = torch.from_numpy(rows).softmax(1).numpy()
        if rows.shape[1] != len(names):
            raise HpoError(f"the model has {rows.shape[1]} outputs, and the data module {len(names)} class names")
        return rows


def average(found: Sequence[Mapping[str, NDArray[Any]]], weights: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The weighted mean of what several models give, by name.

    Raises:
        HpoError: they give different things.
    """
    first = found[0]
    if len(found) == 1:
        return dict(first)
    for other in found[1:]:
        if {name: rows.shape for name, rows in other.items()} != {name: rows.shape for name, rows in first.items()}:
            raise HpoError("the models of the ensemble give different outputs for the same data")
    return {name: np.average([one[name] for one in found], axis=0, weights=weights) for name in first}


def columns_of(whole: Mapping[str, NDArray[Any]], meaning: Meaning, *, proba: bool) -> Columns:
    """A column of predictions, or one for each value; with `proba` also the probabilities of the classes.

    Args:
        whole: the outputs by name, see Collected.whole.

    Raises:
        HpoError: there are no classes to have probabilities.
    """
    if set(whole) != {""}:
        if proba:
            raise HpoError(f"probabilities are of classes, and this model predicts {', '.join(whole)}")
        return {column: part for name, rows in whole.items() for column, part in _columns(rows, name).items()}
    if meaning.class_names:
        return _of_classes(whole[""], meaning, proba=proba)
    if proba:
        raise HpoError("probabilities are of classes, and this model predicts values")
    return _of_values(whole[""], meaning)


def _of_values(rows: NDArray[Any], meaning: Meaning) -> Columns:
    names = meaning.target_names
    if len(names) == rows.shape[1] > 1:
        return {f"{PREDICTION}_{name}": rows[:, number] for number, name in enumerate(names)}
    return _columns(rows, PREDICTION)


def _of_classes(rows: NDArray[Any], meaning: Meaning, *, proba: bool) -> Columns:
    names = np.array(meaning.class_names, dtype=object)
    chosen = rows[:, 1] > 0.5 if rows.shape[1] == 2 else rows.argmax(1)
    likely = {f"p_{name}": rows[:, number] for number, name in enumerate(meaning.class_names)} if proba else {}
    return {PREDICTION: names[chosen.astype(np.int64)], **likely}


def _columns(rows: NDArray[Any], name: str) -> Columns:
    if rows.shape[1] > MOST_COLUMNS:
        raise HpoError(
            f"the model has {rows.shape[1]:,} outputs for a row, which are no table: override its predict_step"
        )
    return {name: rows[:, 0]} if rows.shape[1] == 1 else {f"{name}_{i}": rows[:, i] for i in range(rows.shape[1])}
