"""Looks at a file or folder of data, and says what it is: a table, images, sequences, or a series to forecast."""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from hpo.errors import SpecError, nearest
from hpo.printable import counted

Kind = Literal["table", "images", "sequences", "series"]
KINDS = get_args(Kind)
TEXT_SEPARATORS = {".csv": None, ".tsv": "\t", ".txt": None}  # None: whichever occurs
PARQUET = (".parquet", ".pq")
LOOKED_AT = 5_000  # rows
MOST_CLASSES = 20  # different whole numbers of a target that are taken for classes, as models.data:Table does
SEQUENCE_COLUMNS = ("id", "time", "label")
FEWEST_PIXELS = 8  # of a side, for a square to be an image


@dataclass(frozen=True)
class Guess:
    """What the data are.

    Attributes:
        data: keys of the study file's `data:` section.
        objective: the metric to search by.
        saw: what was seen, in sentences.
        samples: how many there are, of a series its steps; None where that was not counted.
    """

    kind: Kind
    data: dict[str, Any]
    objective: str
    saw: tuple[str, ...]
    samples: int | None = None

    def at(self, file: Path) -> Guess:
        """The same data in another place."""
        place = "source" if "source" in self.data else "path"
        return replace(self, data={**self.data, place: str(file)})


def guess(source: Path, *, target: str | None, kind: str | None, horizon: int | None, period: int | None) -> Guess:
    """
    Args:
        target: the column to predict, of a table or a series.
        kind: a `Kind`, where the guess would be another one.
        horizon, period: of a series.

    Raises:
        SpecError: there is no such file, or it is nothing that can be learned from.
    """
    if kind is not None and kind not in KINDS:
        raise SpecError(f"--kind {kind}: should be {', '.join(KINDS)}{nearest(kind, KINDS)}")
    if not source.exists():
        beside = [each.name for each in source.parent.iterdir()] if source.parent.is_dir() else []
        raise SpecError(f"{source}: there is no such file or folder{nearest(source.name, beside)}")
    of_series = {name: value for name, value in (("horizon", horizon), ("period", period)) if value is not None}
    if source.is_dir() or source.suffix == ".npz":
        if target is not None or of_series:
            raise SpecError(f"{source}: --target, --horizon and --period are for tables and series of text files")
        found = _of_folder(source) if source.is_dir() else _of_arrays(source)
        if kind not in (None, found.kind):
            raise SpecError(f"{source} holds {found.kind}, and not what --kind {kind} says")
        return found
    if kind == "images":
        raise SpecError(f"{source}: images are in a folder, in a folder for each class, or in an .npz file")
    frame = _read(source)
    if kind == "sequences" or (kind is None and set(SEQUENCE_COLUMNS) <= set(frame.columns)):
        return _of_steps(source, frame)
    if kind == "series" or (kind is None and (of_series or _is_series(frame, target))):
        return _of_series(source, frame, target, of_series)
    return _of_table(source, frame, target)


def _of_folder(source: Path) -> Guess:
    saw = (f"{source} is a folder: images, in a folder for each class",)
    return Guess("images", {"class": "models.data:Images", "source": str(source)}, "val_accuracy", saw)


def _of_arrays(source: Path) -> Guess:
    try:
        with np.load(source, allow_pickle=False) as file:
            shapes = {name: file[name].shape for name in file.files}
            x = next((file[name] for name in ("x", "x_train") if name in file.files), None)
            y = next((file[name] for name in ("y", "y_train") if name in file.files), None)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SpecError(f"{source} cannot be read as an .npz file of arrays: {error}") from None
    if x is None or y is None:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
        raise SpecError(f"{source} holds {listed}: it should hold x and y, or x_train and y_train")
    seen = f"{source} holds x {x.shape} and y {y.shape}"
    is_square = x.ndim == 3 and x.shape[1] == x.shape[2] >= FEWEST_PIXELS
    if "length" not in shapes and (x.ndim == 4 or is_square or (x.ndim == 3 and x.dtype == np.uint8)):
        data = {"class": "models.data:Images", "source": str(source)}
        return Guess("images", data, "val_accuracy", (f"{seen}: images",), len(x))
    if x.ndim != 3:
        raise SpecError(
            f"{seen}: images have the shape (samples, height, width) or with channels, and sequences the shape "
            "(samples, time, values)"
        )
    steps = y.ndim > 1 and y.shape[1] == x.shape[1]
    is_values = y.dtype.kind == "f"
    data = {"class": "models.data:Sequences", "path": str(source), **({"labels": "step"} if steps else {})}
    saw = (f"{seen}: sequences of {x.shape[2]} values with a label for each {'step' if steps else 'sequence'}",)
    return Guess("sequences", data, "val_rmse" if is_values else "val_accuracy", saw, len(x))


def _read(source: Path) -> pd.DataFrame:
    """The first rows."""
    if source.suffix.lower() not in (*TEXT_SEPARATORS, *PARQUET):
        known = ", ".join((*TEXT_SEPARATORS, *PARQUET, ".npz"))
        raise SpecError(f"{source}: should be a file that ends in {known}, or a folder of images")
    try:
        if source.suffix.lower() in PARQUET:
            frame = pd.read_parquet(source).head(LOOKED_AT)
        else:
            separator = TEXT_SEPARATORS[source.suffix.lower()]
            frame = pd.read_csv(source, sep=separator, nrows=LOOKED_AT, engine="python")
    except ImportError:
        raise SpecError(f"{source}: Parquet files need the extra: pip install 'hpo-service[parquet]'") from None
    except (ValueError, OSError, csv.Error) as error:
        raise SpecError(f"{source} cannot be read as a table with names in its first row: {error}") from None
    if len(frame) < 2 or not len(frame.columns):
        raise SpecError(f"{source} has {counted(len(frame), 'row')}: there is nothing to learn from")
    return frame


def _is_series(frame: pd.DataFrame, target: str | None) -> bool:
    """A first column of ascending dates, and numbers beside it."""
    first, *others = frame.columns
    numbers = frame[others].select_dtypes("number").columns
    if frame[first].dtype.kind in "ifb" or not len(numbers) or len(numbers) < len(others):
        return False
    if target is not None and target not in numbers:
        return False
    times = _times(frame[first])
    return bool(times.notna().all() and times.is_monotonic_increasing and times.is_unique)


def _times(column: pd.Series) -> pd.Series:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that are inferred
        return pd.to_datetime(column, errors="coerce", utc=True)


def _of_series(source: Path, frame: pd.DataFrame, target: str | None, more: dict[str, int]) -> Guess:
    numbers = list(frame.columns[1:])
    chosen = _chosen(source, target or (numbers[0] if len(numbers) == 1 else None), numbers, "forecast")
    season = more.get("period") or _season(_times(frame.iloc[:, 0]))
    data: dict[str, Any] = {"class": "models.data:Series", "path": str(source), "target": chosen, **more}
    saw = [f"{source} is a series: '{frame.columns[0]}' ascends, and '{chosen}' is to be forecast"]
    if season:
        data["period"] = season
        saw.append(f"a season has {season} steps")
    if frame[chosen].isna().any():
        data["interpolation"] = "linear"
        saw.append(f"{counted(int(frame[chosen].isna().sum()), 'gap')} are interpolated")
    return Guess("series", data, "val_rmse", tuple(saw), len(frame))


def _season(times: pd.Series) -> int:
    """Steps of the usual season of hours, days, weeks, months and quarters; 0 of others."""
    hours = times.diff().dt.total_seconds().median() / 3600
    for least, most, season in ((0.9, 1.1, 24), (23, 25, 7), (167, 169, 52), (660, 750, 12), (2100, 2250, 4)):
        if least <= hours <= most:
            return season
    return 0


def _of_steps(source: Path, frame: pd.DataFrame) -> Guess:
    missing = [name for name in SEQUENCE_COLUMNS if name not in frame]
    if missing:
        raise SpecError(f"{source}: sequences have the columns {', '.join(SEQUENCE_COLUMNS)}; missing: {missing[0]}")
    per_step = bool(frame.groupby("id")["label"].nunique().gt(1).any())
    data = {"class": "models.data:Sequences", "path": str(source), **({"labels": "step"} if per_step else {})}
    is_values = frame["label"].dtype.kind == "f"
    saw = (f"{source} holds sequences: rows of one 'id' in the order of 'time', with a 'label'",)
    samples = frame["id"].nunique() if len(frame) < LOOKED_AT else None
    return Guess("sequences", data, "val_rmse" if is_values else "val_accuracy", saw, samples)


def _of_table(source: Path, frame: pd.DataFrame, target: str | None) -> Guess:
    chosen = _chosen(source, target, list(frame.columns), "predict")
    values = frame[chosen].dropna()
    if values.nunique() < 2:
        raise SpecError(f"{source}: column '{chosen}' has only one value: there is nothing to learn")
    is_whole = values.dtype.kind in "iub" or (values.dtype.kind == "f" and (values % 1 == 0).all())
    is_classes = values.dtype.kind not in "iuf" or (is_whole and values.nunique() <= MOST_CLASSES)
    what = f"{counted(values.nunique(), 'class')[:-1]}es" if is_classes else "numbers"
    rows = f"at least {LOOKED_AT:,}" if len(frame) == LOOKED_AT else f"{len(frame):,}"
    saw = (f"{source} is a table of {rows} rows and {counted(len(frame.columns), 'column')}; '{chosen}' has {what}",)
    data = {"class": "models.data:Table", "source": str(source), "target": chosen}
    return Guess("table", data, "val_accuracy" if is_classes else "val_rmse", saw, len(frame))


def _chosen(source: Path, target: str | None, columns: Sequence[Any], verb: str) -> str:
    names = list(map(str, columns))
    if target is None:
        raise SpecError(f"{source}: which column is to {verb}? Name it with --target: it has {', '.join(names)}")
    if target not in names:
        raise SpecError(
            f"{source}: there is no column '{target}'{nearest(target, names) or '.'} It has {', '.join(names)}"
        )
    return target
