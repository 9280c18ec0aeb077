"""Reading tables: files in CSV, TSV or Parquet, and the small ones that scikit-learn brings along."""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import importlib.util
import io
import json
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}  # and what separates their columns
PARQUET = (".parquet", ".pq")
TARGET = "target"  # the target column of a bundled set

_MEASURES = (
    "radius, texture, perimeter, area, smoothness, compactness, concavity, concave points, symmetry, fractal dimension"
)
_WINE = (
    "alcohol, malic_acid, ash, alcalinity_of_ash, magnesium, total_phenols, flavanoids, nonflavanoid_phenols, "
    "proanthocyanins, color_intensity, hue, od280/od315_of_diluted_wines, proline"
)


class _Bundled(NamedTuple):
    file: str
    columns: tuple[str, ...]  # as scikit-learn names them
    target_file: str = ""


BUNDLED = {
    "breast_cancer": _Bundled(
        "breast_cancer.csv",
        tuple(
            pattern.format(measure)
            for pattern in ("mean {}", "{} error", "worst {}")
            for measure in _MEASURES.split(", ")
        ),
    ),
    "wine": _Bundled("wine_data.csv", tuple(_WINE.split(", "))),
    "iris": _Bundled(
        "iris.csv", tuple(f"{part} {side} (cm)" for part in ("sepal", "petal") for side in ("length", "width"))
    ),
    "diabetes": _Bundled(
        "diabetes_data_raw.csv.gz",
        ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
        "diabetes_target.csv.gz",
    ),
}


def read_source(
    source: str, *, separator: str = "", decimal: str = ".", encoding: str = "utf-8", missing_values: str = "?"
) -> pd.DataFrame:
    """The table as pandas reads it: numbers where a column has nothing else, else strings.

    Args:
        source: a path, or the name of a bundled set.
        separator: of the columns; empty: by the file's suffix.
        missing_values: comma separated, what stands for no value besides what pandas knows, such as an empty field.

    Raises:
        ValueError: it cannot be read, in words.
    """
    if source in BUNDLED:
        return _read_bundled(source)
    path = Path(source)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "is no file"
        hint = difflib.get_close_matches(source, BUNDLED, n=1)
        meant = f"did you mean {hint[0]}? " if hint else ""
        raise ValueError(
            f"Table: source '{source}' {kind}: {meant}It should be a path (here {path.resolve()}), or one of "
            f"{', '.join(BUNDLED)}"
        )
    if suffix in PARQUET:
        table = _read_parquet(path)
    elif suffix in SUFFIXES:
        table = _read_text(
            path, separator or SUFFIXES[suffix], decimal, encoding, missing_values, given=bool(separator)
        )
    else:
        raise ValueError(f"Table: {path}: it should end in {', '.join((*SUFFIXES, *PARQUET))}, of text also with .gz")
    if not len(table):
        raise ValueError(f"Table: {path} has column names, {_listed(list(table.columns))}, but no rows")
    return table


def _read_bundled(name: str) -> pd.DataFrame:
    """Read from scikit-learn's folder: importing sklearn.datasets, or asking it, takes much longer."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "datasets" / "data"
    bundled = BUNDLED[name]
    path = folder / bundled.file
    if not path.is_file():
        raise ValueError(f"Table: {name} comes with scikit-learn, but the installed one has no file {path}")
    if bundled.target_file:
        table = pd.read_csv(path, sep=" ", names=list(bundled.columns))
        table[TARGET] = pd.read_csv(folder / bundled.target_file, names=[TARGET])[TARGET]
        return table
    table = pd.read_csv(path, skiprows=1, names=[*bundled.columns, TARGET])
    with path.open(encoding="utf-8") as file:
        classes = file.readline().strip().split(",")[2:]  # rows, columns, class names
    table[TARGET] = pd.Series(classes)[table[TARGET]].to_numpy()
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    if importlib.util.find_spec("pyarrow") is None and importlib.util.find_spec("fastparquet") is None:
        raise ValueError(f"Table: {path}: reading Parquet takes fastparquet or pyarrow: pip install fastparquet")
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise ValueError(f"Table: {path} cannot be read as Parquet: {error}") from error


def _read_text(
    path: Path, separator: str, decimal: str, encoding: str, missing_values: str, *, given: bool
) -> pd.DataFrame:
    _check_encoding(path, encoding)
    _check_header(path, separator, encoding, given=given)
    try:
        with warnings.catch_warnings():
            # pandas would go on with rows that it had cut
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=separator,
                decimal=decimal,
                encoding=encoding,
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
                na_values=[value.strip() for value in missing_values.split(",")],
            )
    except pd.errors.ParserWarning as error:
        raise ValueError(f"Table: {path}: the rows have more fields than there are column names") from error
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        told = f"line {found[2]} has {found[3]} fields instead of {found[1]}" if found else str(error)
        raise ValueError(f"Table: {path}: {told}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"Table: {path}: {_wrong_encoding(path, encoding)}") from error


def _check_encoding(path: Path, encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ValueError(f"Table: encoding '{encoding}' is not known: it should be utf-8, latin-1, ...") from error


def _check_header(path: Path, separator: str, encoding: str, *, given: bool) -> None:
    """Refuse what pandas would read without a word, and wrongly."""
    names = _header(path, separator, encoding)
    if not any(name.strip() for name in names):
        raise ValueError(f"Table: {path} is empty: its first line should hold the column names")
    if len(names) == 1:
        other = max(",;\t|", key=names[0].count)
        if names[0].count(other):
            said = f"separator is '{separator}'" if given else f"columns are separated by {_said(separator)} here"
            raise ValueError(
                f"Table: {path} has one column only, '{names[0]}': {said}, but it seems to be {_said(other)}; "
                f"give {{separator: {json.dumps(other)}}}"
            )
    twice = [name for name, count in Counter(name for name in names if name.strip()).items() if count > 1]
    if twice:
        raise ValueError(f"Table: {path} has several columns named {_listed(twice)}: each needs a name of its own")
    if all(_is_number(name) for name in names):
        raise ValueError(
            f"Table: {path}: its first line should hold the column names, but holds numbers: {_listed(names)}"
        )


def _header(path: Path, separator: str, encoding: str) -> list[str]:
    opened: Any = gzip.open if path.suffix == ".gz" else io.open
    try:
        with opened(path, "rt", encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
            return next(csv.reader(file, delimiter=separator, skipinitialspace=True), [])
    except UnicodeError as error:
        raise ValueError(f"Table: {path}: {_wrong_encoding(path, encoding)}") from error
    except (csv.Error, TypeError) as error:
        raise ValueError(f"Table: {path}: its first line cannot be read: {error}") from error


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


def _said(separator: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}.get(separator, f"'{separator}'")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str]) -> str:
    return ", ".join(str(name) for name in names[:12]) + (", ..." if len(names) > 12 else "")
