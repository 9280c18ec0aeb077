"""A trial's model with everything that its data module has fitted on its training part, to predict raw input."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule

from hpo.errors import HpoError
from hpo.training.prediction.outputs import Collected, Columns, Meaning, average, columns_of

if TYPE_CHECKING:
    import pandas as pd

PAGE = "docs/your-own-module.md"


@dataclass(frozen=True)
class Prepared:
    """Models that read new data in the same way.

    Attributes:
        data: their data module, and state: what it has fitted.
        weights: of the models, in the average of an ensemble.
    """

    data: Any
    state: Mapping[str, Any]
    models: Sequence[LightningModule]
    weights: Sequence[int]

    def told(self, name: str) -> Any:
        """Names of classes or targets."""
        return self.state.get(name) or getattr(self.data, name, None) or ()

    @property
    def who(self) -> str:
        return type(self.data).__name__


class Predictor:
    """Predicts raw input of the kind that the trial's data module reads, on the CPU.

    Attributes:
        model: in evaluation mode; of an ensemble, the first one.
        class_names: in the order of the probabilities; empty for values.
        remarks: what was odd in the input of the last prediction: in words, as `hpo predict` prints them.

    Args:
        parts: of an ensemble, the models by how they read new data; otherwise the one.
    """

    def __init__(self, parts: Sequence[Prepared], *, remarks: list[str]) -> None:
        self.model = parts[0].models[0]
        self._parts = parts
        self.remarks = self._remarks = remarks
        self.class_names = tuple(map(str, parts[0].told("class_names")))

    def predict(self, source: Any, *, proba: bool = False) -> pd.DataFrame:
        """A row for each sample: what names it, and `prediction`, the name of its class or its value.

        Of several targets, a column `prediction_NAME` for each; of a series, the rows are the steps after its end.

        Args:
            source: a file or folder, a data frame or an array, of what the model was trained with, without the target.
            proba: with a column `p_NAME` for each class.

        Raises:
            HpoError: the source cannot be read, lacks something that the model needs, or has no classes for `proba`.
        """
        import pandas as pd

        rows, columns = self._predicted(source, proba=proba)
        return pd.DataFrame({**rows, **columns})

    def predict_proba(self, source: Any) -> pd.DataFrame:
        """A row for each sample: what names it, and the probability of each class as `p_NAME`.

        Raises:
            HpoError: as `predict`.
        """
        return self.predict(source, proba=True).drop(columns="prediction")

    def _predicted(self, source: Any, *, proba: bool) -> tuple[Mapping[str, Any], Columns]:
        rows: Mapping[str, Any] = {}
        found: list[Mapping[str, Any]] = []
        weights: list[int] = []
        told: list[str] = []
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for part in self._parts:
                new = _read(part, source)
                collected = self._collected(part, new, source)
                found += [each.whole() for each in collected]
                weights += part.weights
                rows = rows or new.get("rows") or {"row": range(1, len(next(iter(found[0].values()))) + 1)}
                told += map(str, new.get("remarks", ()))
        said = [str(warning.message) for warning in warned if issubclass(warning.category, UserWarning)]
        self.remarks = list(dict.fromkeys([*self._remarks, *told, *said]))
        columns = columns_of(average(found, weights), self._meaning(self._parts[0].models[0]), proba=proba)
        count = len(next(iter(columns.values())))
        for name, values in rows.items():
            if len(values) != count:
                raise HpoError(
                    f"{self._parts[0].who}: new_data gave {len(values)} values of '{name}' for {count} rows of "
                    "predictions"
                )
        return rows, columns

    def _meaning(self, model: LightningModule) -> Meaning:
        is_raw = type(model).predict_step is LightningModule.predict_step
        return Meaning(self.class_names, [str(name) for name in self._parts[0].told("target_names")], is_raw)

    def _collected(self, part: Prepared, new: Mapping[str, Any], source: Any) -> list[Collected]:
        """What each model of the part gives for all batches of new data."""
        found = [Collected(self._meaning(model), new.get("steps"), new.get("reference")) for model in part.models]
        for number, batch in enumerate(_batches(part, new)):
            for model, collected in zip(part.models, found, strict=True):
                collected.add(_step(model, batch, number))
        if not found[0].count:
            raise HpoError(f"{source}: there is nothing to predict: {part.who} gave no batches of it")
        return found


def _read(part: Prepared, source: Any) -> Mapping[str, Any]:
    try:
        found = part.data.new_data(source, part.state)
    except Exception as error:  # of the data module
        raise _in_words(part, error) from error
    if not isinstance(found, Mapping) or "batches" not in found:
        raise HpoError(f"{part.who}: new_data returned {type(found).__name__}, not a dict with 'batches' ({PAGE})")
    return found


def _batches(part: Prepared, new: Mapping[str, Any]) -> Iterator[Any]:
    try:
        yield from new["batches"]
    except GeneratorExit:
        raise
    except Exception as error:  # of the data module, which may read batch by batch
        raise _in_words(part, error) from error


def _step(model: LightningModule, batch: Any, number: int) -> Any:
    try:
        with torch.inference_mode():
            return model.predict_step(batch, number)
    except HpoError:
        raise
    except Exception as error:  # of the user's model
        who = type(model).__name__
        raise HpoError(f"{who} failed at batch {number}: {type(error).__name__}: {error}") from error


def _in_words(part: Prepared, error: Exception) -> HpoError:
    """A data module's ValueError is a message for people; of any other error, its type is told too."""
    if isinstance(error, HpoError):
        return error
    if isinstance(error, NotImplementedError):
        return HpoError(without_method(part.who))
    is_told = isinstance(error, ValueError)
    return HpoError(str(error) if is_told else f"{part.who}: new_data failed: {type(error).__name__}: {error}")


def without_method(label: str) -> str:
    """What is said of a data module that cannot read new data."""
    return (
        f"{label} has no method new_data(source, state), which reads new data as the model takes them: {PAGE} shows "
        "one. trial.load_model() gives the model alone"
    )
