"""Rows of a new table as a network's inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from models.data.standalone.moments import date_of, time_of
from models.data.standalone.numerals import plain_number, written_numbers
from models.data.standalone.text_columns import (
    COLUMN_SEPARATORS,
    check_has_columns,
    read_text_columns,
)
from models.data.standalone.words import WORDS, YES_AND_NO

LARGEST_SINGLE = float(np.finfo(np.float32).max)
WITHOUT_VALUE = "(missing)"  # the category of a cell without a value
EXAMPLES = 5
EDGE_OF_QUANTILES = 1e-7


def read(source: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of a .csv or .tsv file.

    Raises:
        ValueError: columns are missing, or a cell has digits and is not read as what its column holds.
    """
    return _NewRows(source, state).inputs()


class _NewRows:
    def __init__(self, source: str, state: Mapping[str, Any]) -> None:
        self._state, self._columns, self._source = state, state["columns"], source
        self._remarks: list[str] = []
        reading = state["reading"]
        missing = {each.strip() for each in reading["missing_values"].split(",")}
        present = {each.strip() for each in reading["present_values"].split(",")}
        self._missing = missing | {""} | (WORDS - present)
        self._table = read_text_columns(source, reading)

    def inputs(self) -> dict[str, Any]:
        columns = self._columns
        dates, categories = columns["dates"], columns["categories"]
        texts = [each["name"] for each in categories]
        needed = [*columns["numbers"], *(date["name"] for date in dates), *texts]
        check_has_columns(self._table, needed, self._source)
        self._tell_others(needed)
        count = len(next(iter(self._table.values())))
        raw = [self._numbers(name) for name in columns["numbers"]]
        gaps = {name: np.isnan(values) for name, values in zip(columns["numbers"], raw, strict=True)}
        for date in dates:
            moments = self._moments(date)
            gaps[date["name"]] = np.isnat(moments)
            raw += _clock_numbers(moments) if date["is_clock"] else _date_numbers(moments, date)
        values = np.stack(raw, axis=1) if raw else np.zeros((count, 0))
        filled = np.where(np.isnan(values), columns["fill"], values)[:, columns["kept"]]
        parts = [_scaled_columns(filled, columns["scaling"])]
        parts += [gaps[name][:, None] for name in columns["incomplete"]]
        codes = [self._codes(each["name"], each["values"]) for each in categories]
        if columns["one_hot"]:
            several = zip(codes, categories, strict=True)
            parts += [code[:, None] == np.arange(1, len(each["values"]) + 1) for code, each in several]
        numbers = np.hstack(parts, dtype=np.float64).clip(-LARGEST_SINGLE, LARGEST_SINGLE).astype(np.float32)
        has_codes = bool(codes) and not columns["one_hot"]
        named = {name: self._table[name] for name in self._state["names_of_rows"] if name in self._table}
        return {
            "inputs": (numbers, np.stack(codes, axis=1)) if has_codes else (numbers,),
            "rows": {"row": list(range(1, count + 1)), **named},
            "remarks": self._remarks,
        }

    def _numbers(self, name: str) -> Any:
        cells = self._table[name]
        reading = self._state["reading"]
        found = [np.nan if cell in self._missing else plain_number(cell, reading["decimal"]) for cell in cells]
        rest = [row for row, value in enumerate(found) if value is None]
        where = f"{self._source}: column '{name}'"
        decimal, thousands = reading["decimal"], reading["thousands"]
        if decimal == "." and not thousands and self._separator() != ",":
            doubtful = next((cells[row] for row in rest if "," in cells[row]), "")
            if doubtful:
                raise ValueError(f"{where}: the comma of '{doubtful}' may be of decimals or of thousands")
        others = written_numbers([cells[row] for row in rest], decimal=decimal, thousands=thousands, where=where)
        for row, value in zip(rest, others, strict=True):
            found[row] = value
        if name in self._columns["yes_and_no"]:
            meaning = {word: 1.0 for yes, _ in YES_AND_NO for word in yes.split()}
            meaning |= {word: 0.0 for _, no in YES_AND_NO for word in no.split()}
            for row in rest:
                found[row] = meaning.get(cells[row].casefold()) if found[row] is None else found[row]
        self._check_read(name, [row for row in rest if found[row] is None], "numbers")
        values = np.array([np.nan if value is None else value for value in found], dtype=np.float64)
        return np.where(np.abs(values) > LARGEST_SINGLE, np.nan, values)

    def _moments(self, date: Mapping[str, Any]) -> Any:
        name = date["name"]
        order = self._state["date_orders"].get(name, "")
        moments = np.full(len(self._table[name]), np.datetime64("NaT"), dtype="datetime64[us]")
        wrong = []
        for row, cell in enumerate(self._table[name]):
            if cell not in self._missing:
                moments[row] = time_of(cell) if date["is_clock"] else date_of(cell, order)
                wrong += [row] if np.isnat(moments[row]) else []
        self._check_read(name, wrong, "times of the day" if date["is_clock"] else "dates")
        return moments

    def _codes(self, name: str, values: Sequence[str]) -> Any:
        texts = [WITHOUT_VALUE if cell in self._missing else cell for cell in self._table[name]]
        numbers = {value: number for number, value in enumerate(values, start=1)}
        unseen = Counter(text for text in texts if text not in numbers)
        if unseen:
            shown = ", ".join(f"'{value}' ({count:,})" for value, count in unseen.most_common(EXAMPLES))
            self._remarks.append(
                f"column '{name}': {sum(unseen.values()):,} of {len(texts):,} rows have a category that the model does "
                f"not know: {shown}"
            )
        return np.array([numbers.get(text, 0) for text in texts], dtype=np.int64)

    def _check_read(self, name: str, wrong: list[int], what: str) -> None:
        """Words among numbers or dates are missing values; what has digits might be read otherwise."""
        cells = self._table[name]
        for row in wrong:
            if any(letter.isdigit() for letter in cells[row]):
                raise ValueError(
                    f"{self._source}: column '{name}' holds {what}; '{cells[row]}' in row {row + 1} is not read as one "
                    "here: write numbers like 1200.5 and dates like 2025-12-31, or use 'hpo predict'"
                )
        if wrong and len(wrong) == sum(cell not in self._missing for cell in cells):
            raise ValueError(f"{self._source}: column '{name}' held {what} in the training, and here texts")
        if wrong:
            self._remarks.append(
                f"column '{name}': {len(wrong):,} of {len(cells):,} values are no {what}, such as "
                f"'{cells[wrong[0]]}' in row {wrong[0] + 1}: treated as missing"
            )

    def _tell_others(self, needed: Sequence[str]) -> None:
        state = self._state
        known = {*needed, *state["target_names"], *state["names_of_rows"], *state["known"]}
        others = [f"'{name}'" for name in self._table if name not in known]
        if others:
            self._remarks.append(f"not known from the training, and not used: {', '.join(others[:EXAMPLES])}")

    def _separator(self) -> str:
        ending = next((suffix for suffix in COLUMN_SEPARATORS if suffix in self._source.lower()), ".csv")
        separator: str = self._state["reading"]["separator"] or COLUMN_SEPARATORS[ending]
        return separator


def _date_numbers(moments: Any, date: Mapping[str, Any]) -> list[Any]:
    """As models.data.date_numbers."""
    is_missing = np.isnat(moments)
    known = np.where(is_missing, np.datetime64(0, "us"), moments)
    days, years, months = (known.astype(f"datetime64[{unit}]") for unit in "DYM")
    angle = 2 * np.pi * (days - years.astype("datetime64[D]")).astype(np.int64) / 365.25
    since = (known - np.datetime64(date["first"], "us")).astype(np.int64) / 1e6 / 86_400
    weekday = (days.astype(np.int64) + 3) % 7  # the first of 1970 was a Thursday
    found: list[Any] = [years.astype(np.int64) + 1970, months.astype(np.int64) % 12 + 1, weekday]
    found += [np.sin(angle), np.cos(angle), since]
    if date["with_time"]:
        minutes = (known - days).astype(np.int64) // 60_000_000
        hour = 2 * np.pi * (minutes // 60 + minutes % 60 / 60) / 24
        found += [np.sin(hour), np.cos(hour)]
    return [np.where(is_missing, np.nan, values).round(9) for values in found]


def _clock_numbers(moments: Any) -> list[Any]:
    is_missing = np.isnat(moments)
    hours = np.where(is_missing, 0, moments.astype(np.int64)) / 1e6 / 3600
    angle = 2 * np.pi * hours / 24
    return [np.where(is_missing, np.nan, values).round(9) for values in (hours, np.sin(angle), np.cos(angle))]


def _scaled_columns(values: Any, scaling: Mapping[str, Any]) -> Any:
    """As models.data.scaling:Scaling."""
    kind, given = scaling["kind"], scaling["arrays"]
    if kind in ("standard", "robust"):
        return (values - given["shift"]) / given["scale"]
    if kind == "min_max":
        return values * given["factor"] + given["offset"]
    if kind == "quantile":
        quantiles = given["quantiles"].T
        columns = zip(values.T, quantiles, np.broadcast_to(given["references"].T, quantiles.shape), strict=True)
        return np.stack([_normal_quantiles(*column) for column in columns], axis=1)
    return values


def _normal_quantiles(x: Any, quantiles: Any, references: Any) -> Any:
    below = np.interp(x, quantiles, references)
    above = -np.interp(-x, -quantiles[::-1], -references[::-1])
    ranks = 0.5 * (below + above)
    ranks[x + EDGE_OF_QUANTILES > quantiles[-1]] = references[-1]
    ranks[x - EDGE_OF_QUANTILES < quantiles[0]] = references[0]
    edge = EDGE_OF_QUANTILES - np.spacing(1)
    return np.array([NormalDist().inv_cdf(rank) for rank in ranks.clip(edge, 1 - edge)])
