"""Sequences of different lengths, with a label for each sequence or each step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.space import Int
from models.data.base import DataModule, Part, PartName, Samples, Task
from models.data.batches import Batch, Inputs
from models.data.dates import DateOrder, check_order
from models.data.new_data import NewData, batches_of
from models.data.new_sequences import read_new_sequences
from models.data.numerals import check_separators
from models.data.sequence_augmentation import with_noise, with_warped_time
from models.data.sequence_file import Labels, Recorded, read_sequences
from models.data.splits import Folds, Ints, Rows, check_fractions, grouped_split, random_split, stratified_split
from models.data.text_file import names_of

Scaling = Literal["none", "standard", "min_max"]
Floats = NDArray[np.float32]

IGNORED = -100  # the class number of a step beyond a sequence's length


class Sequences(DataModule):
    """Sequences from a file, with a label for each sequence or each step.

    Batches are ((x, lengths), targets): x (batch, time, features) float32, 0 beyond a sequence's length; lengths
    (batch,); targets are class numbers (batch,), of steps (batch, time) with IGNORED beyond a length, or values
    (batch, values), of steps (batch, time, values) with NaN beyond a length.

    A .npz file has `x` (samples, time, features), `y`, and optionally `length` (samples,) and `split` (samples,),
    'train' or 'test'. A .csv or .tsv file has a row per step, with columns `id`, `time`, `label`, optionally `split`;
    all others are features. If the file has a split, its test part is used and `test_fraction` has no effect. The rest
    is divided by `split_seed`, stratified for classes, or by groups.

    Args:
        path: a relative one starts from the current folder, in a study from the project.
        task: auto treats real numbers as a regression, and whole numbers and texts as classes.
        labels: one per sequence, or one per step.
        id, time, label: the columns' names; of a regression, label may be several, comma separated.
        group: the column or array of groups, such as persons: a group's sequences are in one part. It is not an input.
        separator, decimal, encoding: of a text file; by default a comma, or in .tsv a tab; a point; and utf-8.
        thousands: the separator of thousands in numbers; by default it is recognised where only one reading is
            possible.
        date_order: day_first, month_first or year_first, for dates that could be read in several orders.
        present_values: texts that are labels, groups or ids though they look like a missing value, such as None;
            comma separated.
        truncate: use only so many first steps of each sequence; 0 uses all.
        scaling: of each feature, over the steps of the training sequences: to mean 0 and deviation 1 (standard),
            or to minimum 0 and maximum 1 (min_max).
        noise: standard deviation of normal noise in training, as a fraction of the feature's standard deviation.
        time_warp: the fraction by which the speed of training sequences varies.

    An epoch of a training part of fewer than 256 sequences passes over them several times, until it has so many: an
    epoch of a few steps could tell a pruner, or an early stopping, nothing.

    Raises:
        ValueError: the file or an argument is invalid.
    """

    standalone = "models.data.standalone.sequences"
    samples_of_an_epoch = 256

    def __init__(
        self,
        path: str,
        task: Literal["auto", "binary", "multiclass", "regression"] = "auto",
        labels: Labels = "sequence",
        id: str = "id",
        time: str = "time",
        label: str = "label",
        group: str = "",
        separator: str = "",
        decimal: str = ".",
        encoding: str = "utf-8",
        batch_size: Annotated[int, Int(8, 256, log=True)] = 32,
        scaling: Scaling = "standard",
        truncate: int = 0,
        noise: float = 0.0,
        time_warp: float = 0.0,
        validation_fraction: float = 0.2,
        test_fraction: float = 0.15,
        split_seed: int = 0,
        thousands: str = "",
        date_order: DateOrder = "auto",
        present_values: str = "",
    ) -> None:
        super().__init__()
        check_fractions(validation_fraction, test_fraction, who="Sequences")
        check_order(date_order, who="Sequences")
        check_separators(decimal, thousands, who="Sequences")
        if truncate < 0 or noise < 0 or not 0 <= time_warp < 1:
            raise ValueError(
                f"Sequences: truncate {truncate} and noise {noise} should be 0 or more, time_warp {time_warp} 0 to 1"
            )
        self.save_hyperparameters()
        self.per_step = labels == "step"

    def read(self) -> Samples:
        given = self.hparams
        names = ["group", "id", "time", "label", "separator", "decimal", "encoding"]
        names += ["thousands", "date_order", "present_values"]
        recorded = read_sequences(given["path"], given["labels"], **{name: given[name] for name in names})
        self._features, self._date_order = recorded.features, recorded.date_order
        keys = (recorded.is_test, recorded.groups)
        return Samples((recorded.x, recorded.lengths), self._numbered(recorded), keys)

    def prepare(self) -> None:
        given = self.hparams
        (x, lengths), targets, (is_test, groups) = self.read()
        time = min(given["truncate"] or x.shape[1], x.shape[1])
        self._x, self._lengths = x[:, :time], np.minimum(lengths, time)
        self._targets = targets[:, :time] if self.per_step else targets
        self.input_shape = self._x.shape[1:]
        self.rows = self._split(targets, is_test, groups)
        train = self.rows.train
        is_there = np.arange(time) < self._lengths[train][:, None]
        self._shift, self._scale, self._deviation = _fit(self._x[train][is_there], given["scaling"])
        if self.task == "regression":
            known = self._targets[train][is_there] if self.per_step else self._targets[train]
            self.outputs = known.shape[1]
            self._mean, deviation = known.mean(axis=0), known.std(axis=0)
            self._target_scale = np.where(deviation > 0, deviation, 1)
            self.target_mean, self.target_scale = tuple(self._mean.tolist()), tuple(self._target_scale.tolist())
        else:
            counted = self._targets[train]
            self.class_counts = tuple(np.bincount(counted[counted >= 0], minlength=len(self.class_names)).tolist())
            self.outputs = 1 if self.task == "binary" else len(self.class_names)
            self._check_classes()

    def part(self, name: PartName) -> Part:
        rows = getattr(self.rows, name)
        lengths = self._lengths[rows]
        x = _scaled(self._x[rows], lengths, self._shift, self._scale)
        targets = self._targets[rows]
        if self.task == "regression":
            targets = ((targets - self._mean) / self._target_scale).astype(np.float32)
        return Part((torch.from_numpy(x), torch.from_numpy(lengths)), torch.from_numpy(targets))

    def fitted(self) -> dict[str, Any]:
        # The longest sequence sets the shape's steps, and a model takes any number of them.
        return super().fitted() | {"shape": self.input_shape[1], "scalings": np.array([self._shift, self._scale])}

    def fitted_state(self) -> dict[str, Any]:
        given = self.hparams
        several = names_of(given["label"])
        reading = {name: given[name] for name in ("id", "time", "separator", "decimal", "encoding", "thousands")}
        return super().fitted_state() | {
            "target_names": several if len(several) > 1 else [],
            "shift": np.asarray(self._shift),
            "scale": np.asarray(self._scale),
            "features": list(self._features),
            "truncate": given["truncate"],
            "labels": given["labels"],
            "reading": reading | {"date_order": self._date_order or given["date_order"]},
            "known": [*several, *names_of(given["group"])],
        }

    def write_sample(self, folder: Path, count: int) -> Path:
        rows = self.rows.validation[:count]
        np.savez(folder / "sample.npz", x=self._x[rows], length=self._lengths[rows])
        return folder / "sample.npz"

    def new_data(self, source: Any, state: Mapping[str, Any]) -> NewData:
        """An .npz or a table as the class reads them, without labels; an array x, or a tuple of x and lengths."""
        found = read_new_sequences(source, state)
        time = min(state["truncate"] or found.x.shape[1], found.x.shape[1])
        x, lengths = found.x[:, :time], np.minimum(found.lengths, time)
        inputs = _scaled(x, lengths, state["shift"], state["scale"])
        is_there = np.arange(found.x.shape[1]) < lengths[:, None]
        rows = found.rows_of_steps(is_there) if state["labels"] == "step" else found.rows
        new: NewData = {
            "batches": batches_of((torch.from_numpy(inputs), torch.from_numpy(lengths))),
            "rows": rows,
            "remarks": found.remarks,
        }
        return new | {"steps": lengths} if state["labels"] == "step" else new

    def change(self, inputs: Inputs, targets: Tensor) -> Batch:
        x, lengths = inputs
        if self.hparams["time_warp"] > 0:
            x, moved = with_warped_time(x, lengths, self.hparams["time_warp"], targets if self.per_step else None)
            targets = targets if moved is None else moved
        if self.hparams["noise"] > 0:
            deviations = torch.from_numpy(self.hparams["noise"] * self._deviation / self._scale).to(x)
            x = with_noise(x, lengths, deviations)
        return (x, lengths), targets

    def _split(self, targets: NDArray[Any], is_test: NDArray[np.bool_] | None, groups: Ints | None) -> Rows:
        given = self.hparams
        fractions = given["validation_fraction"], given["test_fraction"] if is_test is None else 0.0
        rest = np.arange(len(targets)) if is_test is None else np.flatnonzero(~is_test)
        if groups is not None:
            self.folds = Folds("grouped", groups, given["split_seed"])
            train, validation, test = grouped_split(groups[rest], *fractions, seed=given["split_seed"])
        elif self.task == "regression" or self.per_step:
            self.folds = Folds("random", seed=given["split_seed"])
            train, validation, test = random_split(len(rest), *fractions, seed=given["split_seed"])
        else:
            self._check_examples(targets[rest])
            self.folds = Folds("stratified", targets, given["split_seed"])
            train, validation, test = stratified_split(targets[rest], *fractions, seed=given["split_seed"])
        if not len(train) or not len(validation):
            raise ValueError(
                f"{self._who}: {len(rest)} sequences leave {len(train)} for training and {len(validation)} for "
                f"validation: use more, or another validation_fraction than {given['validation_fraction']}"
            )
        return Rows(rest[train], rest[validation], rest[test] if is_test is None else np.flatnonzero(is_test))

    def _numbered(self, recorded: Recorded) -> NDArray[Any]:
        """A model's targets before scaling; also determines the task and the classes."""
        labels = recorded.labels
        is_there = np.arange(recorded.x.shape[1]) < recorded.lengths[:, None]
        known = labels[is_there] if self.per_step else labels
        is_real = np.issubdtype(labels.dtype, np.floating)
        if is_real and not np.isfinite(known).all():
            wrong = ~np.isfinite(known).reshape(len(known), -1).all(axis=1)
            sequence = (np.nonzero(is_there)[0] if self.per_step else np.arange(len(labels)))[wrong.argmax()]
            raise ValueError(
                f"{self._who}: {wrong.sum()} labels are missing or infinite, the first of sequence {sequence}: leave "
                "such sequences out"
            )
        task = self.hparams["task"]
        if task == "regression" or (task == "auto" and is_real):
            return self._values(labels, known, is_there)
        if known.ndim > 1:
            raise ValueError(f"{self._who}: several labels per sequence need a regression, not a {task} task")
        if is_real and (known != known.round()).any():
            raise ValueError(f"{self._who}: a {task} task needs whole numbers or texts as labels, not {known.dtype}")
        names, numbers = np.unique(known.astype(np.int64) if is_real else _as_texts(known), return_inverse=True)
        self._name_classes(names)
        if not self.per_step:
            return numbers.astype(np.int64)
        targets = np.full(labels.shape, IGNORED, dtype=np.int64)
        targets[is_there] = numbers
        return targets

    def _values(self, labels: NDArray[Any], known: NDArray[Any], is_there: NDArray[np.bool_]) -> NDArray[Any]:
        if not (np.issubdtype(labels.dtype, np.number) or labels.dtype == np.bool_):
            raise ValueError(f"{self._who}: a regression needs numbers as labels, not '{known.reshape(-1)[0]}'")
        self.task = "regression"
        values = labels.astype(np.float64)
        values = values[..., None] if values.ndim == (2 if self.per_step else 1) else values
        return np.where(is_there[:, :, None], values, np.nan) if self.per_step else values

    def _name_classes(self, names: NDArray[Any]) -> None:
        task: Task = "binary" if len(names) == 2 else "multiclass"
        wanted = self.hparams["task"]
        if len(names) < 2:
            raise ValueError(f"{self._who}: all labels are '{names[0]}': there is nothing to learn")
        if wanted == "binary" and len(names) > 2:
            raise ValueError(f"{self._who}: a binary task has two classes, but the labels have {len(names)}")
        if np.issubdtype(names.dtype, np.integer) and names.tolist() != list(range(len(names))):
            shown = ", ".join(map(str, names[:3])) + (f" ... {names[-1]}" if len(names) > 3 else "")
            warnings.warn(f"{self._who}: labels are {shown}: classes are numbered from 0 in this order", stacklevel=2)
        self.task = task if wanted == "auto" else wanted
        self.class_names = tuple(map(str, names))

    def _check_examples(self, targets: Ints) -> None:
        rare = np.flatnonzero(np.bincount(targets, minlength=len(self.class_names)) == 1)
        if len(rare):
            more = f", and {len(rare) - 1} more classes" if len(rare) > 1 else ""
            raise ValueError(
                f"{self._who}: class '{self.class_names[rare[0]]}'{more} has a single example, which cannot be in both "
                "training and validation: leave it out or join it with another class"
            )

    def _check_classes(self) -> None:
        unseen = [name for name, count in zip(self.class_names, self.class_counts, strict=True) if not count]
        if unseen:
            more = f", and {len(unseen) - 1} more" if len(unseen) > 1 else ""
            raise ValueError(
                f"{self._who}: class '{unseen[0]}'{more} is not in the training part, so it cannot be learned"
            )

    @property
    def _who(self) -> str:
        return f"Sequences: {self.hparams['path']}"


def _scaled(x: Floats, lengths: Ints, shift: NDArray[Any], scale: NDArray[Any]) -> Floats:
    is_there = np.arange(x.shape[1]) < lengths[:, None]
    return np.where(is_there[:, :, None], (x - shift) / scale, 0).astype(np.float32)


def _as_texts(labels: NDArray[Any]) -> NDArray[Any]:
    return labels.astype(np.int64) if np.issubdtype(labels.dtype, np.integer) else labels.astype(str)


def _fit(steps: Floats, scaling: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The offset and the scale of steps (steps, features), and their standard deviation; each (features,)."""
    deviation = steps.std(axis=0, dtype=np.float64)
    match scaling:
        case "standard":
            shift, scale = steps.mean(axis=0, dtype=np.float64), deviation
        case "min_max":
            shift, scale = steps.min(axis=0), np.ptp(steps, axis=0)
        case _:
            shift, scale = np.zeros(steps.shape[1]), np.ones(steps.shape[1])
    return shift, np.where(scale > 0, scale, 1.0), deviation
