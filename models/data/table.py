"""Tables: a row per sample, with columns of numbers, dates or categories, and one or several target columns."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hpo.space import Choice, Int
from models.data.base import DataModule, Part, PartName, Samples
from models.data.batches import Inputs
from models.data.columns import Columns, usable
from models.data.dates import DateOrder, check_order
from models.data.kinds import columns_of, is_date, is_number, typed
from models.data.new_data import NewData, batches_of
from models.data.new_table import read_new_table
from models.data.numerals import check_separators
from models.data.splits import Folds, Rows, check_fractions, grouped_split, random_split, stratified_split, time_split
from models.data.table_file import READING, WRITING, read_table
from models.data.text_file import listed

Scaling = Annotated[Literal["standard", "robust", "min_max", "quantile", "none"], Choice("standard", "quantile")]
Missing = Literal["median", "mean", "drop", "indicator"]
Categories = Literal["embedding", "one_hot"]

Ints = NDArray[np.int64]

MOST_BINS = 48  # of a number; the default of the paper's authors, see models.number_embeddings
MOST_ROWS = 100_000  # of which quantiles are taken, so that they are there in milliseconds


class Table(DataModule):
    """A CSV, TSV or Parquet file, or one of scikit-learn's: breast_cancer, wine, iris, diabetes.

    Batches are numbers (batch, in_features), or, if there are categories for embeddings, a pair of numbers and class
    numbers (batch, columns); and class numbers (batch,), or standardised values (batch, values). The conversion of
    columns is described in models.data.columns:Columns. Columns with more than `most_categories` different texts,
    without a name, or without values are left out, with a warning; so are rows without a target.

    The split is stratified by class, random for a regression, and depends on `split_seed` and the fractions only, so
    it is the same for every trial; with `group`, all rows of a group are in one part, and with `time`, the latest rows
    are the test part and those before them validation. Everything is fitted on the training rows alone.

    `missing: drop` leaves incomplete rows out of the training part only. Validation and test rows are the same for all
    trials, so that scores are comparable; there, missing numbers get the training part's median. If it would leave less
    than half of the training rows, or none of a class, nothing is dropped, with a warning.

    Args:
        source: a path, or the name of a bundled set.
        target: the column to predict; several, comma separated, for a regression of several values.
        task: auto treats numbers as values and all else as classes, also whole numbers with at most 20 different ones.
        categorical: columns, comma separated, whose numbers are names of categories.
        ignore: columns, comma separated, that are not inputs.
        group: a column; it is not an input.
        time: a column of dates or numbers.
        missing_values: texts for missing values besides an empty field; comma separated. NA, None, null and the like
            (models.data.missing_words) are missing in inputs; as a class or a group they must be declared here or as
            present_values.
        present_values: texts that are values though they look like a missing one, such as None; comma separated.
        thousands: the separator of thousands in numbers; by default it is recognised where only one reading is
            possible. Currency and percent signs are left out of numbers, with a warning.
        date_order: day_first, month_first or year_first, for dates that could be read in several orders.

    Raises:
        ValueError: the file is invalid; with column and row, where rows are counted from 1 below the names.
    """

    standalone = "models.data.standalone.table"

    def __init__(
        self,
        source: str,
        target: str = "",
        task: Literal["auto", "binary", "multiclass", "regression"] = "auto",
        batch_size: Annotated[int, Int(16, 512, log=True)] = 64,
        scaling: Scaling = "standard",
        missing: Missing = "median",
        categories: Categories = "embedding",
        categorical: str = "",
        ignore: str = "",
        drop_constant: bool = True,
        most_correlation: float = 1.0,
        most_categories: int = 100,
        group: str = "",
        time: str = "",
        validation_fraction: float = 0.2,
        test_fraction: float = 0.15,
        split_seed: int = 0,
        separator: str = "",
        decimal: str = ".",
        encoding: str = "utf-8",
        missing_values: str = "?",
        present_values: str = "",
        thousands: str = "",
        date_order: DateOrder = "auto",
    ) -> None:
        super().__init__()
        check_fractions(validation_fraction, test_fraction, who="Table")
        check_order(date_order, who="Table")
        check_separators(decimal, thousands, who="Table")
        if group and time:
            raise ValueError(f"Table: rows are split by group '{group}' or by time '{time}', not by both")
        self.save_hyperparameters()

    def read(self) -> Samples:
        found = read_table(self.hparams["source"], dict(self.hparams))
        self.task, self.class_names = found.task, found.class_names
        self._named, self._date_orders = found.named, found.date_orders
        return Samples(found.inputs, found.values, found.key)

    def prepare(self) -> None:
        given = self.hparams
        self._inputs, values, key = self.read()
        self.rows = self._split(values, key)
        train = self._inputs.iloc[self.rows.train]
        used = usable(train, **{name: given[name] for name in ("drop_constant", "most_categories", "missing")})
        names = ("missing", "scaling", "categories", "drop_constant", "most_correlation")
        self._fitted = Columns(**{name: given[name] for name in names})
        self._learned = self._complete_rows(train[used], values) if given["missing"] == "drop" else self.rows.train
        columns = self._fitted.fit(self._inputs.iloc[self._learned], used)
        self.feature_names, self.category_names = columns.names, columns.category_names
        self.input_shape = (len(columns.names),)
        self.cardinalities = columns.cardinalities
        if not columns.names and not columns.cardinalities:
            raise ValueError(f"Table: no column is left to learn from of {listed(self._inputs)}")
        if self.task == "regression":
            self._standardise(values)
        else:
            self._count_classes(values)

    def part(self, name: PartName) -> Part:
        rows = self._learned if name == "train" else getattr(self.rows, name)
        return Part(_inputs(self._fitted, self._inputs.iloc[rows]), torch.from_numpy(self._targets[rows]))

    def original(self, name: PartName) -> pd.DataFrame:
        """A part's inputs as they were read, in the order of its batches."""
        rows = self._learned if name == "train" else getattr(self.rows, name)
        frame: pd.DataFrame = self._inputs.iloc[rows]
        return frame

    @property
    def bin_edges(self) -> tuple[float, ...]:
        """Of each number of an input, quantiles of the training part, ascending: (in_features * edges,)."""
        inputs = self._parts["train"].inputs
        numbers = inputs if isinstance(inputs, torch.Tensor) else inputs[0]
        some = numbers[:: math.ceil(len(numbers) / MOST_ROWS)].double().numpy()
        ranks = np.linspace(0, 1, min(MOST_BINS + 1, max(2, len(some))))
        edges = np.quantile(some, ranks, axis=0).T.astype(np.float32)
        return tuple(float(str(edge)) for edge in edges.ravel())  # with no more digits than they have

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The column that each number, and then each category, of an input was made of."""
        return self._fitted.sources

    def fitted(self) -> dict[str, Any]:
        return super().fitted() | self._fitted.fitted()

    def fitted_state(self) -> dict[str, Any]:
        columns = self._fitted.state()
        return super().fitted_state() | {
            "target_names": self._named["target"],
            "columns": columns,
            "reading": {name: self.hparams[name] for name in (*READING, *WRITING)},
            "date_orders": self._date_orders,
            "names_of_rows": list(dict.fromkeys([*self._named["ignore"], *self._named["group"]])),
            "known": [*map(str, self._inputs.columns), *self._named["time"]],
        }

    def write_sample(self, folder: Path, count: int) -> Path:
        given = self.hparams
        frame = self._inputs.iloc[self.rows.validation[:count]].copy()
        clocks = {date["name"] for date in self._fitted.state()["dates"] if date["is_clock"]}
        for name in columns_of(frame)[1]:
            frame[name] = frame[name].dt.strftime("%H:%M:%S" if name in clocks else "%Y-%m-%d %H:%M:%S")
        writing = {"sep": given["separator"] or ",", "decimal": given["decimal"], "encoding": given["encoding"]}
        frame.to_csv(folder / "sample.csv", index=False, **writing)
        return folder / "sample.csv"

    def new_data(self, source: Any, state: Mapping[str, Any]) -> NewData:
        found = read_new_table(source, state)
        inputs = _inputs(Columns.of_state(state["columns"]), found.frame)
        return {"batches": batches_of(inputs), "rows": found.rows, "remarks": found.remarks}

    def describe(self) -> dict[str, Any]:
        seen = self._inputs.iloc[np.concatenate([self.rows.train, self.rows.validation])]
        kinds = dict(zip(("numbers", "dates", "categories"), map(len, columns_of(seen)), strict=True))
        facts: dict[str, Any] = {"columns of the file": kinds}
        facts["missing in train and validation"] = {str(name): int(n) for name, n in seen.isna().sum().items() if n}
        facts["with one value only"] = [str(name) for name, n in seen.nunique(dropna=False).items() if n == 1]
        return super().describe() | facts

    def _split(self, values: NDArray[Any], key: pd.Series | None) -> Rows:
        given = self.hparams
        fractions, seed = (given["validation_fraction"], given["test_fraction"]), given["split_seed"]
        if given["group"]:
            self.folds = Folds("grouped", groups := _groups(key), seed)
            rows = grouped_split(groups, *fractions, seed=seed)
        elif given["time"]:
            order = _order(key)
            self.folds = Folds("time", np.argsort(order))
            rows = Rows(*(np.sort(order[part]) for part in time_split(len(order), *fractions)))
        elif self.task == "regression":
            self.folds = Folds("random", seed=seed)
            rows = random_split(len(values), *fractions, seed=seed)
        else:
            self.folds = Folds("stratified", values, seed)
            rows = stratified_split(values, *fractions, seed=seed)
        things = f"{len(set(key))} groups" if given["group"] and key is not None else f"{len(values)} rows"
        for name, wanted in zip(Rows._fields, (1.0, *fractions), strict=True):
            if wanted > 0 and not len(getattr(rows, name)):
                raise ValueError(
                    f"Table: {things} are too few: validation_fraction {fractions[0]} and test_fraction {fractions[1]} "
                    f"leave nothing for the {name} part"
                )
        return rows

    def _complete_rows(self, train: pd.DataFrame, values: NDArray[Any]) -> Ints:
        complete = self.rows.train[~train.isna().any(axis=1).to_numpy()]
        reason = ""
        if len(complete) < len(train) / 2:
            reason = f"only {len(complete)} of {len(train)} training rows have no missing value"
        elif self.task != "regression" and set(values[complete]) < set(values[self.rows.train]):
            lost = set(values[self.rows.train]) - set(values[complete])
            reason = f"class '{self.class_names[min(lost)]}' has no training row without a missing value"
        if not reason:
            return complete
        warnings.warn(f"Table: missing: drop does nothing: {reason}; numbers get the median instead", stacklevel=2)
        return self.rows.train

    def _standardise(self, values: NDArray[np.float64]) -> None:
        """By all training rows, also those that `missing: drop` leaves out, so that losses of trials are comparable."""
        mean, scale = values[self.rows.train].mean(axis=0), values[self.rows.train].std(axis=0)
        scale[scale == 0] = 1
        self.outputs = values.shape[1]
        self.target_mean, self.target_scale = tuple(mean.tolist()), tuple(scale.tolist())
        self._targets: NDArray[Any] = ((values - mean) / scale).astype(np.float32)

    def _count_classes(self, values: Ints) -> None:
        counts = np.bincount(values[self._learned], minlength=len(self.class_names))
        self.outputs = 1 if self.task == "binary" else len(self.class_names)
        self.class_counts = tuple(counts.tolist())
        self._targets = values
        absent = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
        if absent:
            warnings.warn(f"Table: classes without a training row: {', '.join(absent)}", stacklevel=2)


def _inputs(columns: Columns, frame: pd.DataFrame) -> Inputs:
    numbers = torch.from_numpy(columns.numbers(frame))
    return (numbers, torch.from_numpy(columns.categories(frame))) if columns.cardinalities else numbers


def _groups(key: pd.Series | None) -> Ints:
    assert key is not None
    _check_complete(key, "group")
    return np.asarray(pd.factorize(key, sort=True)[0], dtype=np.int64)


def _order(key: pd.Series | None) -> Ints:
    """Row numbers from the earliest to the latest."""
    assert key is not None
    _check_complete(key, "time")
    if not is_date(key) and not is_number(key):
        raise ValueError(f"Table: time column '{key.name}' holds neither dates nor numbers: '{key.iloc[0]}'")
    return np.argsort(key.to_numpy(), kind="stable")


def _check_complete(key: pd.Series, what: str) -> None:
    missing = np.flatnonzero(key.isna())
    if len(missing):
        values = "1 missing value" if len(missing) == 1 else f"{len(missing)} missing values"
        raise ValueError(f"Table: {what} column '{key.name}' has {values}, first in row {missing[0] + 1}")


def _warm_up() -> None:
    """Run the first-use initialisation of pandas and scikit-learn, such as searching for plug-ins on the disk.

    A study's trials are forked from a process that has imported this module, and so start sooner.
    """
    frame = typed(pd.read_csv(io.StringIO("x,day\n1,2025-01-01\n2,2025-01-01\n")))
    used = usable(frame, drop_constant=True, most_categories=1)
    Columns().fit(frame, used).numbers(frame)


_warm_up()
