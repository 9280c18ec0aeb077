"""Reads tables: files in CSV, TSV or Parquet, and the small ones bundled with scikit-learn."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from models.data.text_file import SUFFIXES, listed, read_text, suffix_of

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
    source: str,
    *,
    separator: str = "",
    decimal: str = ".",
    encoding: str = "utf-8",
    missing_values: str = "?",
    as_written: Container[str] = (),
) -> pd.DataFrame:
    """The table: columns that have only numbers as numbers, others as strings.

    Args:
        source: a path, or the name of a bundled set.
        separator: of the columns; empty: by the file's suffix.
        missing_values: comma separated texts for missing values, in addition to an empty field.
        as_written: columns of a text file that are read as strings in any case.

    Raises:
        ValueError: it cannot be read.
    """
    if source in BUNDLED:
        return _read_bundled(source)
    path = Path(source)
    suffix = suffix_of(path)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "is not a file"
        hint = difflib.get_close_matches(source, BUNDLED, n=1)
        meant = f"did you mean {hint[0]}? " if hint else ""
        raise ValueError(
            f"Table: source '{source}' {kind}: {meant}It should be a path (here {path.resolve()}), or one of "
            f"{', '.join(BUNDLED)}"
        )
    if suffix in PARQUET:
        table = _read_parquet(path)
    elif suffix in SUFFIXES:
        missing = [value.strip() for value in missing_values.split(",")]
        table = read_text(
            path,
            who="Table",
            separator=separator,
            decimal=decimal,
            encoding=encoding,
            missing_values=missing,
            as_written=as_written,
        )
    else:
        raise ValueError(f"Table: {path}: it should end in {', '.join((*SUFFIXES, *PARQUET))}, for text also with .gz")
    if not len(table):
        raise ValueError(f"Table: {path} has column names, {listed(table.columns)}, but no rows")
    return table


def _read_bundled(name: str) -> pd.DataFrame:
    """Read from scikit-learn's folder: importing sklearn.datasets, or calling it, takes much longer."""
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
        raise ValueError(f"Table: {path}: reading Parquet needs fastparquet or pyarrow: pip install fastparquet")
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise ValueError(f"Table: {path} cannot be read as Parquet: {error}") from error
