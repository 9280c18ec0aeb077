"""The common base of data modules: their attributes for models, parts that are read on demand, and their batches."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from models.data.batches import Batch, Batches, Inputs
from models.data.new_data import NewData
from models.data.placement import Placed, place
from models.data.preparation import summary_of
from models.data.splits import Folds, Rows

Task = Literal["binary", "multiclass", "regression"]
PartName = Literal["train", "validation", "test"]

PARTS_OF_STAGE: dict[str | None, tuple[PartName, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": (),
    None: ("train", "validation", "test"),
}
# Large, because no gradients are kept, and fixed, so that trials are evaluated alike.
EVALUATION_BATCH = 512


class Samples(NamedTuple):
    """All samples as read: nothing fitted, nothing left out, all parts together, always in the same order.

    Row numbers, such as those of a split, index the first dimension of all arrays. The contract test replaces the
    inputs of some rows, and their targets if they are floating-point numbers, by garbage, and checks what else changes.

    Attributes:
        inputs: an array, a data frame, a list with an entry per row, or a tuple or a dict of these.
        targets: the same; None if they are among the inputs.
        keys: other inputs of the split than class numbers, such as groups or times.
    """

    inputs: Any
    targets: Any = None
    keys: Any = None


class Part(NamedTuple):
    """Samples with their targets.

    inputs: a tensor (samples, ...) or several of them; targets: class numbers (samples, ...) int64, or values
    (samples, outputs) float32.
    rows: the part's rows of the inputs, (samples,) int64, in the order of the targets; None if they are all rows.
    """

    inputs: Inputs
    targets: Tensor
    rows: Tensor | None = None


class DataModule(LightningDataModule):
    """Samples in memory, split once.

    A data module implements three methods: `read`, which returns all samples unchanged; `prepare`, which calls it once,
    splits them (`self.rows`) and fits scalings and the like on the training rows; and `part`, which returns one part's
    samples. Before it sets `self.rows`, it says in `self.folds` how they are divided into folds. Only a test uses the
    test part. `fitted` tells what was fitted, so that a model which was trained with
    other scalings and the like refuses the batches.

    After `setup("fit")` it has these attributes for models:
        task: binary, multiclass or regression (of one or several values).
        outputs: units of the model's last layer: the number of classes, 1 for binary, the number of values.
        input_shape: of one sample's (first) input.
        in_features: the count of its numbers.
        cardinalities: for each column of class numbers in the second input, the number of its values.
        class_counts: training samples of each class; empty for a regression.
        class_names: of the classes, in the order of their numbers; empty for a regression.
        target_mean, target_scale: of each value of a regression, by which targets were standardised:
            prediction * scale + mean is in the data's own unit.
    """

    samples_of_an_epoch = 1  # at least so many: fewer are passed over several times
    standalone = ""  # the module that reads new data with NumPy alone, see models.data.standalone
    task: Task = "multiclass"
    outputs: int
    input_shape: tuple[int, ...]
    cardinalities: tuple[int, ...] = ()
    class_counts: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    target_mean: tuple[float, ...] = ()
    target_scale: tuple[float, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._rows: Rows | None = None
        self._learns_from_validation = False
        self._fold: tuple[int, int] | None = None  # its number, and how many there are
        self.folds: Folds | None = None
        self._parts: dict[str, Part] = {}
        self._placed: dict[str, Placed] = {}  # the same for successive trials
        self._is_prepared = False
        self._prepared: dict[str, Any] = {}  # the attributes set by a set-up
        self._preparation: dict[str, Any] | None = None

    @property
    def in_features(self) -> int:
        return math.prod(self.input_shape)

    @property
    def rows(self) -> Rows:
        """The rows of each part, from `prepare` on; those of a final model's training include the validation part's."""
        assert self._rows is not None, "rows are known once the samples are split"
        return self._rows

    @rows.setter
    def rows(self, rows: Rows) -> None:
        both = self._learns_from_validation
        if self._fold is not None:
            rows = self._fold_of(rows)
        self._rows = rows._replace(train=np.union1d(rows.train, rows.validation)) if both else rows

    def learn_from_validation(self) -> None:
        """Train on the validation part too, and fit everything on both; the last thing done to a model, once its
        configuration is chosen. To be called before `setup`."""
        self._learns_from_validation = True

    def take_fold(self, number: int, count: int) -> None:
        """Divide the training and validation parts together into `count` folds, and validate on one of them.

        The training part, on which everything is fitted, is the other folds; of a series, those before it. To be called
        before `setup`.

        Args:
            number: of the fold, from 1.
        """
        self._fold = (number, count)

    def _fold_of(self, rows: Rows) -> Rows:
        assert self._fold is not None
        if self.folds is None:
            raise ValueError(
                f"{type(self).__name__} does not say how its samples are divided into folds: set self.folds before "
                "self.rows, such as Folds('stratified', classes) of models.data.splits"
            )
        try:
            return self.folds.rows_of(rows, *self._fold)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: folds: {self._fold[1]} cannot be made: {error}") from error

    def read(self) -> Samples:
        """All samples, unchanged."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Read, split and fit; called once, before the first call of `part`."""
        raise NotImplementedError

    def part(self, name: PartName) -> Part:
        """One part's samples, on the CPU."""
        raise NotImplementedError

    def prepared_part(self, name: PartName) -> Part:
        """One part's samples, on the CPU, which a set-up has read; or else they are read now."""
        return self._parts[name] if name in self._parts else self.part(name)

    def change(self, inputs: Inputs, targets: Tensor) -> Batch:
        """A training batch, changed for training: override it to augment."""
        return inputs, targets

    def restore(self, name: PartName, values: Tensor) -> Tensor:
        """A part's predictions or targets (samples, outputs), given in the data's unit, as original values.

        A data module that transforms its targets in other ways than mean and scale, such as differences, inverts it
        here.
        """
        return values

    def fitted(self) -> dict[str, Any]:
        """Everything that a model's inputs, and the meaning of its outputs, depend on besides the samples themselves.

        By names for messages: arrays or tensors of numbers, and plain values. Override it to add what `prepare` fits.
        """
        return {
            "shape": list(getattr(self, "input_shape", ())),  # which a subclass need not have
            "classes": list(self.class_names),
            "mean of the targets": np.array(self.target_mean),
            "scale of the targets": np.array(self.target_scale),
        }

    def fitted_state(self) -> dict[str, Any]:
        """All that `new_data` needs of what was fitted; a trial keeps it beside its checkpoint.

        Arrays, and plain values that JSON can hold, by names, also in nested dicts and lists; models.data.new_data
        describes those of each data module. Override it to add what `prepare` fits.
        """
        return {
            "task": self.task,
            "class_names": list(self.class_names),
            "target_names": [],
            "target_mean": np.array(self.target_mean),
            "target_scale": np.array(self.target_scale),
        }

    def new_data(self, source: Any, state: Mapping[str, Any]) -> NewData:
        """A new source, without targets, converted as in the training of a model; the module was not set up.

        Args:
            source: a path, an array, a data frame, ...: what people give to `hpo predict` and `Predictor.predict`.
            state: what `fitted_state` gave in the training.

        Raises:
            ValueError: it cannot be read, or is not of the kind of the training data; with a message for people.
            NotImplementedError: always, unless a subclass overrides it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not read new data")

    def write_sample(self, folder: Path, count: int) -> Path | None:
        """Write the first samples of the validation part, which was set up, as `new_data` and `standalone` read them.

        The path of the file, `sample` with a suffix; None, unless a subclass overrides it.
        """
        return None

    def preparation(self) -> dict[str, Any]:
        """What converted the batches: this class with its source, and a summary of `fitted`; plain values.

        A trial's checkpoint has it, and the tensors of batches have it as their attribute `prepared`.
        """
        if self._preparation is None:
            source = self.hparams.get("source") or self.hparams.get("path") or ""
            by = type(self).__name__ + (f" ({source})" if source else "")
            self._preparation = {"by": by, "fitted": summary_of(self.fitted())}
        return self._preparation

    def describe(self) -> dict[str, Any]:
        """Facts for `hpo data describe` that batches do not show; of the test part, its number of samples.

        By name: numbers, texts, or lists or mappings of these.
        """
        # A test part in a separate file is not counted before a test.
        return {"samples of the test part": len(self.rows.test)} if len(self.rows.test) else {}

    def setup(self, stage: str | None = None) -> None:
        # A Trainer that has tested with this module also asks it when it predicts from other loaders.
        is_asked_first = stage == "predict" and not self._is_prepared
        if is_asked_first and type(self).predict_dataloader is DataModule.predict_dataloader:
            self.predict_dataloader()
        before = dict(vars(self))
        if not self._is_prepared:
            self.prepare()
            self._is_prepared = True
        for name in PARTS_OF_STAGE[stage]:
            if name not in self._parts:
                self._parts[name] = self.part(name)
        self._prepared |= {name: value for name, value in vars(self).items() if before.get(name, self) is not value}

    def take_over(self, other: LightningDataModule) -> bool:
        """Take over the data that another module has prepared for a fit, if this one would prepare the same.

        Returns whether it did. Successive trials in one process that differ in other parameters prepare their data
        once.
        """
        if type(other) is not type(self) or not other._is_prepared:
            return False
        if (other._learns_from_validation, other._fold) != (self._learns_from_validation, self._fold):
            return False
        mine = self._options()
        if mine is None or mine != other._options():
            return False
        vars(self).update(other._prepared)
        self._prepared = dict(other._prepared)
        self._parts = {name: other._parts[name] for name in PARTS_OF_STAGE["fit"] if name in other._parts}
        self._placed = {name: placed for name, placed in other._placed.items() if name in self._parts}
        return True

    def _options(self) -> list[tuple[str, Any, Any]] | None:
        """All inputs of the preparation: the constructor's arguments, and the state of its files.

        None if they are unknown, because not every argument was saved as a hyperparameter.
        """
        names = inspect.signature(type(self)).parameters.keys() - {"batch_size"}
        if not names <= self.hparams.keys():
            return None
        return [(name, self.hparams[name], _stamp(self.hparams[name])) for name in sorted(names)]

    def train_dataloader(self) -> Batches:
        return self._batches("train", self.hparams["batch_size"], training=True)

    def val_dataloader(self) -> Batches:
        return self._batches("validation", EVALUATION_BATCH)

    def test_dataloader(self) -> Batches:
        return self._batches("test", EVALUATION_BATCH)

    def predict_dataloader(self) -> Any:
        """
        Raises:
            ValueError: always, unless a subclass overrides it.
        """
        raise ValueError(
            f"{type(self).__name__}: there is no part to predict. Its parts are train, validation and test, all of its "
            "own source, on whose training rows it fits scalings and the like; on another source it would fit them "
            "anew, and a trained model would be wrong. To predict the validation or the test part, call "
            'setup("validate") or setup("test"), and give the Trainer dataloaders=data.val_dataloader() or '
            "data.test_dataloader()"
        )

    def _batches(self, name: PartName, batch_size: int, *, training: bool = False) -> Batches:
        part = self._parts[name]
        if not len(part.targets):
            fraction = self.hparams.get(f"{name}_fraction", 0)
            reason = f"a fraction of {fraction} of so few samples is empty" if fraction else f"{name}_fraction is 0"
            raise ValueError(f"{type(self).__name__}: there is no {name} part: {reason}")
        self._ask_model()
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        placed = self._placed.get(name)
        if placed is None or placed.device != device:
            placed = self._placed[name] = place(part.inputs, part.targets, part.rows, device)
        change = self.change if training and type(self).change is not DataModule.change else None
        return Batches(
            placed.inputs,
            placed.targets,
            batch_size,
            training=training,
            change=change,
            rows=placed.rows,
            pinned=placed.is_pinned,
            prepared=self.preparation(),
            passes=max(1, -(-self.samples_of_an_epoch // len(part.targets))) if training else 1,
        )

    def _ask_model(self) -> None:
        """Let a loaded model that a Trainer evaluates refuse the batches, if those of its training were others.

        It also refuses them in its `forward`, which a module's steps need not call.
        """
        if self.trainer is None or self.trainer.state.fn == "fit":
            return
        check = getattr(self.trainer.lightning_module, "_hpo_check", None)
        if check is not None:
            check.check(self.preparation())


def _stamp(value: Any) -> tuple[int, int] | None:
    """(time of modification, size), if this is the path of a file or a folder."""
    if not isinstance(value, str | Path):
        return None
    try:
        found = Path(value).expanduser().stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size
