"""Reads files of sequences: padded arrays (.npz), or a table with a row per step (.csv, .tsv)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.data.cache import Kept, is_worth_keeping, read_once
from models.data.dates import ADVICE, order_of
from models.data.missing_words import check_no_words, without_words
from models.data.npz import read_arrays
from models.data.numerals import Numerals
from models.data.text_file import SUFFIXES, names_of, separator_of, suffix_of
from models.data.timed_file import Moments, check_ascending, check_columns, check_file, numbers, read_columns, times

Ints = NDArray[np.int64]
Labels = Literal["sequence", "step"]

PADDING = (
    "such as sequences of different lengths in one array: pad them with zeros to (samples, time, features) and give "
    "their lengths as `length`"
)
PARTS = ("train", "test")
SPLIT = "split"  # the array or column with each sequence's part


class Recorded(NamedTuple):
    """The sequences of a file.

    Attributes:
        x: (samples, time, features) float32; values beyond a length are padding.
        lengths: (samples,)
        labels: of each sequence (samples, ...), or of each step (samples, time, ...): numbers or texts.
        is_test: (samples,); None if the file has no split.
        groups: (samples,) numbers of the groups; None if there are none.
        features: their names, of a table.
        date_order: of a table's times, if their texts have several.
    """

    x: NDArray[np.float32]
    lengths: Ints
    labels: NDArray[Any]
    is_test: NDArray[np.bool_] | None
    groups: Ints | None = None
    features: tuple[str, ...] = ()
    date_order: str = ""


class Steps(NamedTuple):
    """The steps of a table, sequence by sequence.

    Attributes:
        x: as of Recorded; lengths: (samples,)
        order: the row of each step (steps,); codes: the number of its sequence (steps,).
        names: of the sequences (samples,).
        moments: the time of each step (steps,).
    """

    x: NDArray[np.float32]
    lengths: Ints
    order: Ints
    codes: Ints
    names: Any
    moments: Moments

    @property
    def places(self) -> tuple[Ints, Ints]:
        """The sequence and the step of each row of `order`."""
        firsts = np.repeat(self.lengths.cumsum() - self.lengths, self.lengths)
        return self.codes, np.arange(len(self.codes)) - firsts


def read_sequences(path: str, labels: Labels, *, group: str, **columns: str) -> Recorded:
    """The sequences of a file; a large one is read once for all trials of a machine.

    Args:
        group: the array or column of groups; empty: there is none.
        columns: of a table: id, time and label, and its separator, decimal, encoding, thousands, date_order and
            present_values, as in Sequences.

    Raises:
        ValueError: the file is invalid.
    """

    def read() -> Recorded:
        if suffix_of(Path(path)) in SUFFIXES:
            return read_long(path, labels, group=group, **columns)
        return read_npz(path, labels, group=group)

    if not is_worth_keeping(Path(path)):
        return read()
    key = {"labels": labels, "group": group, **columns}
    return _unpacked(read_once("sequences 4", Path(path), key, lambda: _packed(read())))


def _packed(found: Recorded) -> Kept:
    arrays: dict[str, NDArray[Any]] = {"x": found.x, "lengths": found.lengths, "labels": found.labels}
    note: dict[str, Any] = {"features": found.features, "date_order": found.date_order}
    if found.labels.dtype.kind not in "biuf":
        codes, words = pd.factorize(found.labels.ravel())
        arrays["labels"] = codes.reshape(found.labels.shape)
        note["words"] = [str(word) for word in words]
    if found.is_test is not None:
        arrays["is_test"] = found.is_test
    if found.groups is not None:
        arrays["groups"] = found.groups
    return Kept(arrays, note)


def _unpacked(kept: Kept) -> Recorded:
    arrays = kept.arrays
    labels = arrays["labels"]
    labels = np.array(kept.note["words"])[labels] if "words" in kept.note else labels
    named = tuple(kept.note["features"]), kept.note["date_order"]
    return Recorded(arrays["x"], arrays["lengths"], labels, arrays.get("is_test"), arrays.get("groups"), *named)


def read_npz(path: str, labels: Labels, *, group: str = "") -> Recorded:
    """Arrays `x` (samples, time, features) or (samples, time), `y`, and optionally `length` and `split`.

    Args:
        group: the array of groups; empty: there is none.

    Raises:
        ValueError: one is missing, or their shapes do not match.
    """
    who = f"Sequences: {path}"
    if not zipfile.is_zipfile(check_file(path, who="Sequences")):
        raise ValueError(f"{who}: it is not an .npz archive; text files should end in {', '.join(SUFFIXES)}")
    arrays = read_arrays(Path(path), ("x", "y", *([group] if group else [])), who=who, advice=PADDING)
    x = padded(arrays["x"], who=who)
    for name in ("y", "length", SPLIT, group):
        if name in arrays and (not arrays[name].ndim or len(arrays[name]) != len(x)):
            entries = len(arrays[name]) if arrays[name].ndim else "no"
            raise ValueError(f"{who}: x has {len(x)} sequences, {name} has {entries} entries")
    lengths = checked_lengths(arrays.get("length"), *x.shape[:2], who=who)
    check_finite(x, lengths, who=who)
    _check_shape(arrays["y"], labels, x.shape[1], who=who)
    split = arrays.get(SPLIT)
    is_test = None if split is None else _is_test(split.astype(str), who=who)
    return Recorded(x, lengths, arrays["y"], is_test, _numbered(arrays[group]) if group else None)


def read_long(
    path: str,
    labels: Labels,
    *,
    id: str,
    time: str,
    label: str | Sequence[str],
    group: str = "",
    thousands: str = "",
    date_order: str = "auto",
    present_values: str = "",
    **reading: str,
) -> Recorded:
    """A table with a row per step: the sequence's id, the time, features, and the label; optionally a column `split`.

    Args:
        group: the column of groups; empty: there is none.
        thousands, date_order, present_values: as in Sequences.
        reading: separator, decimal and encoding.

    Raises:
        ValueError: a column is missing, a cell is not a number, times do not ascend, or labels of a sequence differ.
    """
    who = f"Sequences: {path}"
    frame = read_columns(path, who="Sequences", **reading)
    wanted, grouping = names_of(label), [group] if group else []
    check_columns(frame, [id, time, *wanted, *grouping], who=who)
    present = names_of(present_values)
    for name, thing in ((id, "sequence"), *((one, "class") for one in wanted), *((one, "group") for one in grouping)):
        check_complete(frame[name], who=who)
        check_no_words(frame[name], thing, title="column", where=who, present=present)
    features = [str(name) for name in frame.columns if name not in (id, time, SPLIT, *wanted, *grouping)]
    if not features:
        raise ValueError(f"{who}: there are no features: no columns besides {', '.join([id, time, *wanted])}")
    separator = separator_of(Path(path), reading.get("separator", ""))
    numerals = Numerals(reading.get("decimal", "."), thousands, separator)
    steps = steps_of(frame, features, id=id, time=time, numerals=numerals, date_order=date_order, who=who)
    order, codes, names = steps.order, steps.codes, steps.names
    places, shape = steps.places, steps.x.shape[:2]
    columns = [_label_column(frame[name], labels, order, codes, names, places, shape, who=who) for name in wanted]
    y = columns[0] if len(columns) == 1 else np.stack(columns, axis=-1)
    is_test = None
    if SPLIT in frame.columns:
        is_test = _is_test(_of_sequences(frame[SPLIT].astype(str), order, codes, names, who=who).astype(str), who=who)
    groups = _numbered(_of_sequences(frame[group], order, codes, names, who=who)) if group else None
    named = tuple(features), order_of(frame[time], date_order)
    return Recorded(steps.x, steps.lengths, y, is_test, groups, *named)


def padded(x: NDArray[Any], *, who: str) -> NDArray[np.float32]:
    """Sequences (samples, time, features), from an array of that shape or without features.

    Raises:
        ValueError: it has no such shape, or no numbers.
    """
    if x.ndim not in (2, 3) or x.dtype.kind not in "biuf" or not x.size:
        raise ValueError(f"{who}: x should be numbers (samples, time, features), not {x.dtype} {x.shape}")
    return (x if x.ndim == 3 else x[:, :, None]).astype(np.float32)


def steps_of(
    frame: pd.DataFrame,
    features: Sequence[str],
    *,
    id: str,
    time: str,
    numerals: Numerals,
    date_order: str,
    who: str,
) -> Steps:
    """The features of a table with a row per step, whose ids are complete.

    Raises:
        ValueError: a cell is empty or not a number, or times of a sequence do not ascend.
    """
    codes, names = pd.factorize(frame[id])
    order = np.argsort(codes, kind="stable").astype(np.int64)
    codes = codes[order]
    moments = times(frame[time], who=who, order=date_order, advice=ADVICE)[order]
    wrong = np.flatnonzero((codes[1:] == codes[:-1]) & (moments[1:] <= moments[:-1]))
    if len(wrong):
        pair = slice(wrong[0], wrong[0] + 2)
        check_ascending(moments[pair], time, who=f"{who}: sequence '{names[codes[wrong[0]]]}'", rows=order[pair])
    lengths = np.bincount(codes).astype(np.int64)
    x = np.zeros((len(lengths), int(lengths.max()), len(features)), dtype=np.float32)
    steps = Steps(x, lengths, order, codes, names, moments)
    for column, name in enumerate(features):
        check_complete(without_words(frame[[name]])[name], who=who)
        values = numbers(frame[name], who=who, numerals=numerals)
        x[(*steps.places, column)] = values[order]
    return steps


def _label_column(
    column: pd.Series[Any],
    labels: Labels,
    order: Ints,
    codes: Ints,
    names: Any,
    places: tuple[Ints, Ints],
    shape: tuple[int, int],
    *,
    who: str,
) -> NDArray[Any]:
    if labels == "sequence":
        return _of_sequences(column, order, codes, names, who=who, advice="; labels of each step need labels: step")
    values = column.to_numpy()
    y = np.full(shape, values[0], dtype=values.dtype)
    y[places] = values[order]
    return y


def _of_sequences(
    column: pd.Series[Any], order: Ints, codes: Ints, names: Any, *, who: str, advice: str = ""
) -> NDArray[Any]:
    """The common value of all rows of each sequence (samples,)."""
    values = column.to_numpy()[order]
    firsts = np.searchsorted(codes, np.arange(len(names)))
    wrong = np.flatnonzero(values != values[firsts][codes])
    if len(wrong):
        first, other = values[firsts][codes[wrong[0]]], values[wrong[0]]
        raise ValueError(
            f"{who}: column '{column.name}', row {order[wrong[0]] + 1}: sequence '{names[codes[wrong[0]]]}' has "
            f"'{first}' and here '{other}'{advice}"
        )
    found: NDArray[Any] = values[firsts]
    return found


def _numbered(groups: NDArray[Any]) -> Ints:
    return np.unique(groups.astype(str), return_inverse=True)[1].astype(np.int64)


def check_complete(column: pd.Series[Any], *, who: str) -> None:
    """
    Raises:
        ValueError: a cell is empty.
    """
    missing = column.isna().to_numpy()
    if missing.any():
        more = f", and {missing.sum() - 1} more like that" if missing.sum() > 1 else ""
        raise ValueError(f"{who}: column '{column.name}', row {int(missing.argmax()) + 1}: the cell is empty{more}")


def checked_lengths(lengths: NDArray[Any] | None, samples: int, time: int, *, who: str) -> Ints:
    """Lengths (samples,) from 1 to `time`; all of them `time` where there are none.

    Raises:
        ValueError: they are not.
    """
    if lengths is None:
        return np.full(samples, time, dtype=np.int64)
    if lengths.ndim != 1 or not (np.issubdtype(lengths.dtype, np.number) and (lengths == lengths.round()).all()):
        raise ValueError(f"{who}: length should be whole numbers ({samples},), not {lengths.dtype} {lengths.shape}")
    wrong = np.flatnonzero((lengths < 1) | (lengths > time))
    if len(wrong):
        more = f", and {len(wrong) - 1} more like that" if len(wrong) > 1 else ""
        raise ValueError(
            f"{who}: the length of sequence {wrong[0]} is {lengths[wrong[0]]}: it should be 1 to {time}{more}"
        )
    return lengths.astype(np.int64)


def check_finite(x: NDArray[np.float32], lengths: Ints, *, who: str) -> None:
    """
    Raises:
        ValueError: a value within a length is missing or infinite.
    """
    wrong = ~np.isfinite(x) & (np.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    if wrong.any():
        sample, step, feature = np.argwhere(wrong)[0]
        raise ValueError(
            f"{who}: x has {wrong.sum()} values that are missing or infinite, the first in sequence {sample}, step "
            f"{step}, feature {feature}: leave such sequences out or fill the gaps"
        )


def _check_shape(y: NDArray[Any], labels: Labels, time: int, *, who: str) -> None:
    if labels == "step" and (y.ndim not in (2, 3) or y.shape[1] != time):
        raise ValueError(f"{who}: labels: step needs y (samples, {time}) or (samples, {time}, values), not {y.shape}")
    if labels == "sequence" and (y.ndim > 2 or (y.ndim == 2 and not np.issubdtype(y.dtype, np.floating))):
        raise ValueError(f"{who}: y has the shape {y.shape}: one label per sequence is (samples,); or use labels: step")


def _is_test(split: NDArray[Any], *, who: str) -> NDArray[np.bool_]:
    unknown = sorted(set(split.tolist()) - set(PARTS))
    if unknown:
        raise ValueError(f"{who}: split holds '{unknown[0]}': it should be train or test")
    is_test: NDArray[np.bool_] = split == "test"
    if is_test.all():
        raise ValueError(f"{who}: split leaves nothing to train on: all {len(split)} sequences are test")
    return is_test
