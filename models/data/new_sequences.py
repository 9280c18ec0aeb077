"""Reads new sequences as those of the training were read: the same features, without labels; whatever is odd told."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.npz import read_arrays
from models.data.numerals import Numerals
from models.data.sequence_file import (
    PADDING,
    SPLIT,
    Ints,
    check_complete,
    check_finite,
    checked_lengths,
    padded,
    steps_of,
)
from models.data.text_file import SUFFIXES, separator_of, suffix_of
from models.data.timed_file import Moments, check_columns, read_columns

ARRAYS = ("x", "y", "length", SPLIT)


@dataclass(frozen=True)
class NewSequences:
    """x: (samples, time, features); lengths: (samples,); names: of the sequences; moments: of the steps of a table."""

    x: NDArray[np.float32]
    lengths: Ints
    names: NDArray[Any]
    remarks: list[str]
    id: str = "sequence"
    time: str = "step"
    moments: Moments | None = None  # (samples, time)

    @property
    def rows(self) -> dict[str, Any]:
        """A row for each sequence."""
        return {self.id: self.names}

    def rows_of_steps(self, is_there: NDArray[np.bool_]) -> dict[str, Any]:
        """A row for each of these steps (samples, time)."""
        samples, steps = np.nonzero(is_there)
        return {self.id: self.names[samples], self.time: steps if self.moments is None else self.moments[is_there]}


def read_new_sequences(source: Any, state: Mapping[str, Any]) -> NewSequences:
    """The sequences of a file, of an array x, or of a tuple of x and lengths.

    Args:
        state: of models.data.sequences:Sequences, see models.data.new_data.

    Raises:
        ValueError: it cannot be read, or has other features than the training's.
    """
    if isinstance(source, str | Path) and suffix_of(Path(source)) in SUFFIXES:
        return _of_table(str(source), state)
    remarks: list[str] = []
    if isinstance(source, str | Path):
        who = f"Sequences: {source}"
        arrays = read_arrays(Path(source), ("x",), who=who, advice=PADDING)
        x, given = arrays["x"], arrays.get("length")
        if others := [name for name in arrays if name not in ("x", "length")]:
            remarks.append(f"arrays that are not used: {', '.join(others)}")
    elif isinstance(source, np.ndarray | tuple):
        who = "Sequences"
        x, given = source if isinstance(source, tuple) else (source, None)
    else:
        raise ValueError(f"Sequences: new data should be a file or an array, not {type(source).__name__}")
    values = padded(np.asarray(x), who=who)
    if given is not None and len(given) != len(values):
        raise ValueError(f"{who}: x has {len(values)} sequences, length has {len(given)} entries")
    lengths = checked_lengths(given, *values.shape[:2], who=who)
    check_finite(values, lengths, who=who)
    _check_features(values.shape[2], state, who=who)
    return NewSequences(values, lengths, np.arange(len(values)), remarks)


def _of_table(path: str, state: Mapping[str, Any]) -> NewSequences:
    reading, who, remarks = state["reading"], f"Sequences: {path}", []
    id, time = reading["id"], reading["time"]
    frame = read_columns(
        path, who="Sequences", **{name: reading[name] for name in ("separator", "decimal", "encoding")}
    )
    check_columns(frame, [id, time], who=who)
    check_complete(frame[id], who=who)
    others = [str(name) for name in frame.columns if name not in (id, time)]
    features = list(state["features"])
    if lacking := [name for name in features if name not in others]:
        close = {name: difflib.get_close_matches(name, others, n=1) for name in lacking}
        named = "; ".join(
            f"'{name}'" + (f" (did you mean '{near[0]}'?)" if near else "") for name, near in close.items()
        )
        raise ValueError(
            f"{who} lacks {len(lacking)} of the {len(features)} features that the model learnt from: {named}"
        )
    known = {*state["known"], SPLIT}
    if unused := [name for name in others if name not in features and (features or name in known)]:
        remarks.append(f"columns that are not used: {', '.join(unused)}")
    if not features:  # the training had an array
        features = [name for name in others if name not in known]
        remarks.append(f"the features are the columns {', '.join(features)}, in this order")
        _check_features(len(features), state, who=who)
    numerals = Numerals(reading["decimal"], reading["thousands"], separator_of(Path(path), reading["separator"]))
    order = reading["date_order"]
    steps = steps_of(frame, features, id=id, time=time, numerals=numerals, date_order=order, who=who)
    moments = np.zeros(steps.x.shape[:2], dtype=steps.moments.dtype)
    moments[steps.places] = steps.moments
    return NewSequences(steps.x, steps.lengths, np.asarray(steps.names), remarks, id, time, moments)


def _check_features(count: int, state: Mapping[str, Any], *, who: str) -> None:
    learnt = len(state["shift"])
    if count != learnt:
        raise ValueError(f"{who}: a step has {count} features; the model learnt from {learnt}")
