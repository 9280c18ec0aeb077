"""A table's typed columns, target and key for a data module, cached for later trials."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.data.base import Task
from models.data.cache import Kept, is_worth_keeping, read_once
from models.data.dates import order_of
from models.data.kinds import Writing, as_text, columns_of, typed
from models.data.missing_words import check_no_words, without_words
from models.data.numerals import Numerals
from models.data.sources import BUNDLED, PARQUET, TARGET, read_source
from models.data.standalone.words import WORDS
from models.data.targets import read_target
from models.data.text_file import check_unique, listed, names_of, separator_of, suffix_of

READING = ("separator", "decimal", "encoding", "missing_values")
CHOOSING = ("target", "task", "categorical", "ignore", "group", "time")
WRITING = ("thousands", "date_order", "present_values")
AS_WRITTEN = ("target", "categorical", "group")  # whose columns may hold names that look like numbers


class Contents(NamedTuple):
    """The contents of the rows with a target.

    inputs: from models.data.kinds:typed; values: as in models.data.targets:Target; key: the groups or the times.
    named: the columns that the arguments `target`, `categorical`, `ignore`, `group` and `time` name.
    date_orders: of the columns of dates whose texts have several orders.
    """

    inputs: pd.DataFrame
    values: NDArray[Any]
    key: pd.Series | None
    task: Task
    class_names: tuple[str, ...]
    named: dict[str, list[str]]
    date_orders: dict[str, str]


def read_table(source: str, arguments: dict[str, Any]) -> Contents:
    """Read a table once for all trials of a machine: text takes 1.4 s for 100,000 rows, the cache 20 ms.

    Args:
        arguments: of models.data.table:Table, those in READING, CHOOSING and WRITING.

    Raises:
        ValueError: the file is invalid.
    """
    path = Path(source)
    if source in BUNDLED or not is_worth_keeping(path):
        return _read(source, arguments)
    chosen = {name: arguments[name] for name in (*READING, *CHOOSING, *WRITING)}
    return _unpacked(read_once("table 5", path, chosen, lambda: _packed(_read(source, arguments))))


def _read(source: str, arguments: dict[str, Any]) -> Contents:
    reading = {name: arguments[name] for name in READING}
    table = with_names(read_source(source, **reading, as_written=_named_in(arguments)), source)
    named = {
        name: _columns(source, table, name, str(arguments[name]).strip())
        for name in ("target", "categorical", "ignore", "group", "time")
    }
    targets = named["target"] or ([TARGET] if source in BUNDLED else [])
    if not targets:
        raise ValueError(f"Table: target should name the column to predict: {listed(table)}")
    named["target"] = targets
    # A Parquet file marks missing values itself.
    is_parquet = suffix_of(Path(source)) in PARQUET
    present = sorted(WORDS) if is_parquet else names_of(arguments["present_values"])
    separator = separator_of(Path(source), arguments["separator"])
    numerals = Numerals(arguments["decimal"], arguments["thousands"], separator)
    writing = Writing(numerals, arguments["date_order"])
    left_out = {*targets, *named["ignore"], *named["group"]}
    features = table[[name for name in table.columns if name not in left_out]]
    if not len(features.columns):
        raise ValueError(f"Table: {source} has no column besides the target, so there is nothing to learn from")
    where = f"Table: {source}"
    missing = arguments["missing_values"]
    found = read_target(
        table[targets], arguments["task"], writing=writing, present=present, missing_values=missing, where=where
    )
    inputs = typed(without_words(features, present=present), categorical=named["categorical"], writing=writing)
    key = None
    if named["group"]:
        group = table[named["group"][0]]
        check_no_words(group, "group", title="the group column", where=where, present=present)
        key = as_text(group)
    elif named["time"]:
        when = named["time"][0]
        is_read = when in inputs.columns and when not in named["categorical"]  # and what is odd in it, was said
        key = inputs[when] if is_read else typed(without_words(table[[when]]), writing=writing)[when]
    return Contents(
        inputs.iloc[found.rows].reset_index(drop=True),
        found.values,
        None if key is None else key.iloc[found.rows].reset_index(drop=True),
        found.task,
        found.class_names,
        named,
        {name: order for name in columns_of(inputs)[1] if (order := order_of(table[name], arguments["date_order"]))},
    )


def _named_in(arguments: dict[str, Any]) -> set[str]:
    """The columns that these arguments may mean; a name may have a comma in it."""
    given = [str(arguments[name]).strip() for name in AS_WRITTEN]
    return {name.strip() for text in given for name in (text, *text.split(","))}


def _packed(found: Contents) -> Kept:
    arrays, note = _arrays_of(found.inputs, "inputs")
    arrays["values"] = found.values
    if found.key is not None:
        key_arrays, note["key"] = _arrays_of(found.key.to_frame(), "key")
        arrays |= key_arrays
    others = {name: getattr(found, name) for name in ("task", "class_names", "named", "date_orders")}
    return Kept(arrays, {"inputs": note, **others})


def _unpacked(kept: Kept) -> Contents:
    note = kept.note
    key = note["inputs"].get("key")
    return Contents(
        _frame_of(kept.arrays, note["inputs"], "inputs"),
        kept.arrays["values"],
        None if key is None else _frame_of(kept.arrays, key, "key").iloc[:, 0],
        note["task"],
        tuple(note["class_names"]),
        note["named"],
        note["date_orders"],
    )


def _arrays_of(frame: pd.DataFrame, prefix: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """A typed frame as arrays, and a note of its columns and its texts."""
    numbers, dates, texts = columns_of(frame)
    coded = {name: pd.factorize(frame[name]) for name in texts}
    arrays = {
        "numbers": frame[numbers].to_numpy(),
        "dates": frame[dates].to_numpy("datetime64[us]").view(np.int64),
        "codes": np.stack([codes for codes, _ in coded.values()], axis=1) if coded else np.empty((len(frame), 0)),
    }
    note = {
        "columns": [str(name) for name in frame.columns],
        "numbers": numbers,
        "dates": dates,
        "texts": {name: list(words) for name, (_, words) in coded.items()},
    }
    return {f"{prefix} {name}": array for name, array in arrays.items() if array.size}, note


def _frame_of(arrays: dict[str, NDArray[Any]], note: dict[str, Any], prefix: str) -> pd.DataFrame:
    parts = []
    if note["numbers"]:
        parts.append(pd.DataFrame(arrays[f"{prefix} numbers"], columns=note["numbers"]))
    if note["dates"]:
        parts.append(pd.DataFrame(arrays[f"{prefix} dates"].view("datetime64[us]"), columns=note["dates"]))
    if note["texts"]:
        columns = zip(note["texts"].items(), arrays[f"{prefix} codes"].T, strict=True)
        texts = {
            name: pd.Series(np.array([*words, np.nan], dtype=object)[codes], dtype=object)  # -1, the last, is no value
            for (name, words), codes in columns
        }
        parts.append(pd.DataFrame(texts))
    return parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)[note["columns"]]


def _columns(source: str, table: pd.DataFrame, argument: str, given: str) -> list[str]:
    """The columns that an argument names, separated by commas."""
    if not given or given in table.columns:
        return [given] if given else []
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in table.columns:
            close = difflib.get_close_matches(name, [str(column) for column in table.columns], n=1)
            meant = f"; did you mean '{close[0]}'?" if close else "."
            raise ValueError(f"Table: {source} has no column '{name}' ({argument}){meant} It has {listed(table)}")
    return names


def with_names(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """The table without columns that have no name, such as row numbers written by pandas."""
    check_unique(map(str, table.columns), f"Table: {source}")
    table = table.set_axis([str(name).strip() for name in table.columns], axis=1)
    nameless = [name for name in table.columns if not name or name.startswith("Unnamed: ")]
    if nameless:
        columns = "1 column has" if len(nameless) == 1 else f"{len(nameless)} columns have"
        warnings.warn(f"Table: {columns} no name: left out", stacklevel=2)
    return table.drop(columns=nameless)
