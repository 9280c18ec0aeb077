"""A trial's model with everything that its data module has fitted on its training part, to predict raw input."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule

from hpo.errors import HpoError, LoadError
from hpo.loading import load_class
from hpo.study.job import BEST_CHECKPOINT, CONFIG, OWN_LOADERS, PREPROCESSING
from hpo.study.plan import TRAIN_AND_VALIDATION
from hpo.training.both_parts import learn_from_validation
from hpo.training.build import build
from hpo.training.load_model import files_for_references, load_model
from hpo.training.prediction.outputs import Collected, Columns, Meaning
from hpo.training.prediction.state_file import parsed, read_state, state_of
from hpo.training.preparation import CHECK, preparation_of

if TYPE_CHECKING:
    import pandas as pd

PAGE = "docs/your-own-module.md"


class Predictor:
    """Predicts raw input of the kind that the trial's data module reads, on the CPU.

    Attributes:
        model: in evaluation mode; of an ensemble, the first one.
        class_names: in the order of the probabilities; empty for values.
        remarks: what was odd in the input of the last prediction: in words, as `hpo predict` prints them.
    """

    def __init__(
        self,
        model: LightningModule,
        data: Any,
        state: Mapping[str, Any],
        *,
        remarks: list[str],
        members: Sequence[LightningModule] = (),
    ) -> None:
        self.model = model
        self._members = [model, *members]
        self.remarks = remarks
        self._data, self._state, self._remarks = data, state, remarks
        self.class_names = tuple(map(str, self._told("class_names")))

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
        is_raw = type(self.model).predict_step is LightningModule.predict_step
        meaning = Meaning(self.class_names, [str(name) for name in self._told("target_names")], is_raw)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            new = self._read(source)
            collected = Collected(meaning, new.get("steps"), new.get("reference"))
            for number, batch in enumerate(self._batches(new)):
                collected.add(self._step(batch, number))
        said = [str(warning.message) for warning in warned if issubclass(warning.category, UserWarning)]
        self.remarks = list(dict.fromkeys([*self._remarks, *map(str, new.get("remarks", ())), *said]))
        if not collected.count:
            raise HpoError(f"{source}: there is nothing to predict: {self._who} gave no batches of it")
        columns = collected.columns(proba=proba)
        count = len(next(iter(columns.values())))
        rows = new.get("rows") or {"row": range(1, count + 1)}
        for name, values in rows.items():
            if len(values) != count:
                raise HpoError(
                    f"{self._who}: new_data gave {len(values)} values of '{name}' for {count} rows of predictions"
                )
        return rows, columns

    def _read(self, source: Any) -> Mapping[str, Any]:
        try:
            found = self._data.new_data(source, self._state)
        except Exception as error:  # of the data module
            raise self._in_words(error) from error
        if not isinstance(found, Mapping) or "batches" not in found:
            raise HpoError(f"{self._who}: new_data returned {type(found).__name__}, not a dict with 'batches' ({PAGE})")
        return found

    def _batches(self, new: Mapping[str, Any]) -> Iterator[Any]:
        try:
            yield from new["batches"]
        except GeneratorExit:
            raise
        except Exception as error:  # of the data module, which may read batch by batch
            raise self._in_words(error) from error

    def _step(self, batch: Any, number: int) -> Any:
        try:
            with torch.inference_mode():
                return averaged([model.predict_step(batch, number) for model in self._members])
        except HpoError:
            raise
        except Exception as error:  # of the user's model
            who = type(self.model).__name__
            raise HpoError(f"{who} failed at batch {number}: {type(error).__name__}: {error}") from error

    def _in_words(self, error: Exception) -> HpoError:
        """A data module's ValueError is a message for people; of any other error, its type is told too."""
        if isinstance(error, HpoError):
            return error
        if isinstance(error, NotImplementedError):
            return HpoError(_without_method(self._who))
        is_told = isinstance(error, ValueError)
        return HpoError(str(error) if is_told else f"{self._who}: new_data failed: {type(error).__name__}: {error}")

    def _told(self, name: str) -> Any:
        return self._state.get(name) or getattr(self._data, name, None) or ()

    @property
    def _who(self) -> str:
        return type(self._data).__name__


def load_predictor(
    config: Mapping[str, Any], checkpoint: Path, project: Path, *, members: Sequence[Path] = ()
) -> Predictor:
    """The predictor of a trial.

    Args:
        config: of the trial.
        checkpoint: of its best epoch, beside which is what its data module has fitted; where that is missing, as after
            a training by an older release, it is fitted again on the data of the trial.
        project: the folder that classes are imported from.
        members: checkpoints of trials of the same configuration, with which it is an ensemble: their outputs are
            averaged.

    Raises:
        HpoError: a file is missing or damaged, a class cannot be imported, or it cannot read new data.
    """
    if "data" not in config or config["data"]["class"] == OWN_LOADERS:
        raise HpoError("the study has no data module, whose method new_data could read new data: " + PAGE)
    label = config["data"]["class"]
    data_class = load_class(label, project)
    if not callable(getattr(data_class, "new_data", None)):
        raise HpoError(_without_method(label))
    if not checkpoint.is_file() and not checkpoint.is_dir():
        raise LoadError(f"{checkpoint}: there is no such file; it is on the machine that trained the trial")
    state = read_state(checkpoint.with_name(PREPROCESSING))
    model = load_model(config, checkpoint, project)
    try:
        data = build(data_class, files_for_references(config, "data"), project)
    except (TypeError, ValueError) as error:
        raise LoadError(f"{label} cannot be made again: {type(error).__name__}: {error}") from error
    remarks = []
    if state is None:
        if callable(getattr(data, "fitted_state", None)):
            remarks.append(
                f"{PREPROCESSING} is missing beside the checkpoint: {label} was fitted again on the trial's data"
            )
        if config.get("trained_on") == TRAIN_AND_VALIDATION:
            learn_from_validation(data)
        state = _fitted_again(data, model, label, checkpoint.with_name(PREPROCESSING))
    others = [load_model(config, member, project) for member in members]
    return Predictor(model, data, state, remarks=remarks, members=others)


def averaged(outputs: Sequence[Any]) -> Any:
    """The mean of what several models give: tensors, or mappings of these; of one model, what it gives."""
    if len(outputs) == 1:
        return outputs[0]
    if isinstance(outputs[0], Mapping):
        return {name: averaged([output[name] for output in outputs]) for name in outputs[0]}
    return torch.stack(list(outputs)).mean(0)


def predictor_in(folder: Path, project: Path) -> Predictor:
    """The predictor of a trial's folder, wherever it was moved to, without a store.

    Raises:
        HpoError: the folder is not that of a trial, or as `load_predictor`.
    """
    if folder.name == BEST_CHECKPOINT:
        folder = folder.parent
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "there is no such folder" if not folder.is_dir() else f"it has no {CONFIG}"
        raise LoadError(
            f"{folder} is not the folder of a trial: {what}; it holds {BEST_CHECKPOINT}, {CONFIG} and more"
        ) from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise LoadError(f"{path} is not the configuration of a trial")
    return load_predictor(config, folder / BEST_CHECKPOINT, project)


def _fitted_again(data: Any, model: LightningModule, label: str, missing: Path) -> dict[str, Any]:
    try:
        data.prepare_data()
        data.setup(stage="fit")
        contents = state_of(data)
        state = {} if contents is None else parsed(io.BytesIO(contents), label)  # as a file would give it
        preparation = preparation_of(data)
    except Exception as error:  # of the user's code
        raise LoadError(
            f"{missing}: there is no such file, and {label} cannot be fitted again on the data of the trial: "
            f"{type(error).__name__}: {error}"
        ) from error
    check = getattr(model, CHECK, None)
    if check is not None and preparation is not None and (changed := check.differing(preparation)):
        raise LoadError(
            f"{missing}: there is no such file, and {label} cannot be fitted again: the data of the trial have changed "
            f"since (other {changed})"
        )
    return state


def _without_method(label: str) -> str:
    return (
        f"{label} has no method new_data(source, state), which reads new data as the model takes them: {PAGE} shows "
        "one. trial.load_model() gives the model alone"
    )
