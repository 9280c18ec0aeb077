"""Reads columns of text, and reports common mistakes: separators, encodings, rows that are too long."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}  # with the separators of their columns
BYTES_AT_ONCE = 16 << 20
# Digits that a number does not keep: leading zeros, and more than a double-precision number distinguishes.
KEPT_AS_TEXT = re.compile(r"[-+]?(0\d+|\d{16,})(\.0*)?")


def suffix_of(path: Path) -> str:
    """The suffix in small letters, without .gz."""
    return (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()


def separator_of(path: Path, given: str = "") -> str:
    """The separator of the columns: the given one, or else that of the file's suffix, or else a comma."""
    return given or SUFFIXES.get(suffix_of(path), ",")


def read_text(
    path: Path,
    *,
    who: str,
    separator: str = "",
    decimal: str = ".",
    encoding: str = "utf-8",
    missing_values: Sequence[str] = (),
    as_written: Container[str] = (),
) -> pd.DataFrame:
    """The table: columns that have only numbers as numbers, others as strings, without blanks around them.

    A column of numbers is read as strings if a number has leading zeros or more than 15 digits. Among numbers, NA and
    the like (models.data.missing_words) are missing values; in a column of strings they are strings.

    Args:
        who: begins each error message.
        separator: of the columns; empty: by the file's suffix, else a comma.
        missing_values: texts for missing values, in addition to an empty field.
        as_written: columns that are read as strings in any case.

    Raises:
        ValueError: pandas cannot read the file, or would silently misread it.
    """
    given, separator = bool(separator), separator_of(path, separator)
    where = f"{who}: {path}"
    _check_encoding(encoding, who)
    reading: dict[str, Any] = {
        "sep": separator, "decimal": decimal, "encoding": encoding, "index_col": False, "skipinitialspace": True,
        "low_memory": False, "na_values": ["", *missing_values],
    }  # fmt: skip
    try:
        _check_header(path, separator, encoding, where, given=given)
        with warnings.catch_warnings():
            # pandas would only warn, and cut the rows
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = pd.read_csv(path, **reading)
            has_names = _may_have_more_digits(path, separator, encoding)
            places = [
                place
                for place, (name, column) in enumerate(table.items())
                if str(name).strip() in as_written
                or not is_numeric_dtype(column.dtype)
                or (has_names and _is_whole(column))
            ]
            if not places:
                return table
            texts = pd.read_csv(path, **reading, usecols=places, dtype=str, keep_default_na=False)
    except pd.errors.ParserWarning as error:
        raise ValueError(f"{where}: the rows have more fields than there are column names") from error
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        problem = f"line {found[2]} has {found[3]} fields instead of {found[1]}" if found else str(error)
        raise ValueError(f"{where}: {problem}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {_wrong_encoding(path, encoding)}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{where}: it is damaged, or not compressed by gzip: {error}") from error
    kept = {
        str(name): _stripped(text)
        for name, text in texts.items()
        if str(name).strip() in as_written or not is_numeric_dtype(table[name].dtype) or has_more_digits(text)
    }
    return table.assign(**kept)


def _may_have_more_digits(path: Path, separator: str, encoding: str) -> bool:
    """Whether a field of the file begins like a number with leading zeros or many digits: searched in its bytes."""
    if len("0".encode(encoding)) > 1:  # several bytes a character
        return True
    field = re.compile(rb"[\n\r" + re.escape(separator.encode(encoding)) + rb"] *\"?[-+]?(?:0[0-9]|[0-9]{16})")
    opened: Any = gzip.open if path.suffix == ".gz" else io.open
    with opened(path, "rb") as file:
        return any(field.search(b"\n" + some + file.readline()) for some in iter(lambda: file.read(BYTES_AT_ONCE), b""))


def _is_whole(column: pd.Series) -> bool:
    if is_bool_dtype(column.dtype) or is_integer_dtype(column.dtype):
        return is_integer_dtype(column.dtype)
    known = column.dropna()
    return bool((known == known.round()).all())


def has_more_digits(texts: pd.Series) -> bool:
    """Whether one of the texts has leading zeros, or more digits than a number keeps."""
    return any(KEPT_AS_TEXT.fullmatch(text.strip()) for text in texts.dropna().unique())


def by_text(texts: pd.Series, change: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """A column's texts changed, each different one once; NaN stays NaN."""
    codes, different = pd.factorize(texts)
    changed = change(pd.Series(different, dtype=object, name=texts.name))
    found = changed.take(np.maximum(codes, 0)) if len(changed) else pd.Series(np.nan, range(len(codes)), dtype=object)
    found = found.set_axis(texts.index).mask(codes < 0)
    found.name = texts.name
    return found


def _stripped(texts: pd.Series) -> pd.Series:
    stripped = by_text(texts, lambda different: different.str.strip() if len(different) else different)
    return stripped.mask(stripped == "")


def _check_encoding(encoding: str, who: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ValueError(f"{who}: encoding '{encoding}' is not known: it should be utf-8, latin-1, ...") from error


def _check_header(path: Path, separator: str, encoding: str, where: str, *, given: bool) -> None:
    """Refuse headers that pandas would silently misread."""
    names = _header(path, separator, encoding, where)
    if not any(name.strip() for name in names):
        raise ValueError(f"{where} is empty: its first line should hold the column names")
    if len(names) == 1:
        other = max(",;\t|", key=names[0].count)
        if names[0].count(other):
            assumed = f"separator is '{separator}'" if given else f"columns are separated by {_name_of(separator)} here"
            raise ValueError(
                f"{where} has one column only, '{names[0]}': {assumed}, but it seems to be {_name_of(other)}; "
                f"give {{separator: {json.dumps(other)}}}"
            )
    check_unique(names, where)
    if all(_is_number(name) for name in names):
        raise ValueError(f"{where}: its first line should hold the column names, but holds numbers: {listed(names)}")


def check_unique(names: Iterable[str], where: str) -> None:
    """Check that no two columns have the same name; blanks around a name are no part of it.

    Raises:
        ValueError: two have; the message begins with `where`.
    """
    counts = Counter(name.strip() for name in names)
    twice = [name for name, count in counts.items() if count > 1 and name]
    if twice:
        raise ValueError(f"{where} has several columns named {listed(twice)}: names must be unique")


def _header(path: Path, separator: str, encoding: str, where: str) -> list[str]:
    opened: Any = gzip.open if path.suffix == ".gz" else io.open
    try:
        with opened(path, "rt", encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
            return next(csv.reader(file, delimiter=separator, skipinitialspace=True), [])
    except UnicodeError as error:
        raise ValueError(f"{where}: {_wrong_encoding(path, encoding)}") from error
    except (csv.Error, TypeError) as error:
        raise ValueError(f"{where}: its first line cannot be read: {error}") from error


def _wrong_encoding(path: Path, encoding: str) -> str:
    opened: Any = gzip.open if path.suffix == ".gz" else io.open
    with opened(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return f"it is not in {encoding}; it seems to be utf-16: give {{encoding: utf-16}}"
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return f"line {number} is not in {encoding} (byte 0x{byte:02x}); perhaps {{encoding: latin-1}}"
    return f"it is not in {encoding}; perhaps {{encoding: latin-1}}"


def _name_of(separator: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}.get(separator, f"'{separator}'")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(names: Iterable[object]) -> str:
    """The first names, separated by commas."""
    words = [str(name) for name in names]
    return ", ".join(words[:12]) + (", ..." if len(words) > 12 else "")


def names_of(written: str | Sequence[str]) -> list[str]:
    """The names in a list or a comma-separated text."""
    names = written.split(",") if isinstance(written, str) else written
    return [name.strip() for name in names if name.strip()]
