"""Columns of a text file as texts."""

from __future__ import annotations

import csv
import difflib
import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COLUMN_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}  # by the suffixes of files


def read_text_columns(source: str, reading: Mapping[str, Any]) -> dict[str, list[str]]:
    """The columns by name, without blanks around a cell, and without the columns that have no name.

    Args:
        reading: separator and encoding; an empty separator is that of the suffix.

    Raises:
        ValueError: it is no such file, or its rows have more fields than names.
    """
    path = Path(source)
    suffix = (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()
    if suffix not in COLUMN_SEPARATORS:
        raise ValueError(f"{source}: should end in {', '.join(COLUMN_SEPARATORS)}, for text also with .gz")
    encoding = "utf-8-sig" if reading["encoding"].lower() in ("utf-8", "utf8") else reading["encoding"]
    separator = reading["separator"] or COLUMN_SEPARATORS[suffix]
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding=encoding, newline="") as file:
            lines = [row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if row]
    except (OSError, UnicodeError, EOFError, csv.Error) as error:
        raise ValueError(f"{source}: cannot be read: {error}") from error
    if len(lines) < 2:
        raise ValueError(f"{source}: there are no rows below a header")
    names = [name.strip() for name in lines[0]]
    for number, row in enumerate(lines[1:], start=1):
        if len(row) > len(names):
            raise ValueError(f"{source}: row {number} has {len(row)} fields, and there are {len(names)} column names")
    several = {name for name in names if name and names.count(name) > 1}
    if several:
        raise ValueError(f"{source}: several columns are named {', '.join(sorted(several))}")
    return {
        name: [row[place].strip() if place < len(row) else "" for row in lines[1:]]
        for place, name in enumerate(names)
        if name
    }


def check_has_columns(has: Iterable[str], needed: Iterable[str], source: str) -> None:
    """
    Raises:
        ValueError: columns are missing; all are named, with similar ones that are there.
    """
    has, needed = list(has), list(needed)
    extra = [name for name in has if name not in needed]
    lacking = []
    for name in needed:
        if name not in has:
            close = difflib.get_close_matches(name, extra, n=1)
            lacking.append(f"'{name}'" + (f" (did you mean '{close[0]}'?)" if close else ""))
    if lacking:
        raise ValueError(
            f"{source} lacks {len(lacking)} of the {len(needed)} columns that the model needs: {'; '.join(lacking)}. "
            f"It has {', '.join(has)}"
        )
