"""Loads the predictor of trained models: their networks, their data modules, and what these have fitted."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule

from hpo.errors import HpoError, LoadError
from hpo.loading import load_class
from hpo.study.job import BEST_CHECKPOINT, CONFIG, OWN_LOADERS, PREPROCESSING, TrainedModel
from hpo.training.both_parts import as_trained
from hpo.training.build import build
from hpo.training.load_model import files_for_references, load_model
from hpo.training.prediction.predictor import PAGE, Predictor, Prepared, without_method
from hpo.training.prediction.state_file import parsed, read_state, state_of
from hpo.training.preparation import CHECK, preparation_of


def load_predictor(trained: Sequence[TrainedModel], project: Path) -> Predictor:
    """The predictor of a trial's model, or of an ensemble of several.

    Args:
        trained: beside each checkpoint is what its data module has fitted; where that is missing, as after a training
            by an older release, it is fitted again on the data of the trial.
        project: the folder that classes are imported from.

    Raises:
        HpoError: a file is missing or damaged, a class cannot be imported, or it cannot read new data.
    """
    remarks: list[str] = []
    return Predictor([_prepared(group, project, remarks) for group in alike(trained)], remarks=remarks)


def alike(trained: Sequence[TrainedModel]) -> list[list[TrainedModel]]:
    """The models in groups whose data modules have the same arguments, and have fitted the same."""
    groups: dict[tuple[str, bytes | None], list[TrainedModel]] = {}
    for one in trained:
        fitted = Path(one.checkpoint).with_name(PREPROCESSING)
        reads_as = json.dumps([one.config.get("data"), one.config.get("trained_on")], default=str)
        groups.setdefault((reads_as, fitted.read_bytes() if fitted.is_file() else None), []).append(one)
    return list(groups.values())


def _prepared(group: Sequence[TrainedModel], project: Path, remarks: list[str]) -> Prepared:
    """Models that read new data in the same way, with their data module."""
    config, checkpoint = group[0].config, Path(group[0].checkpoint)
    if "data" not in config or config["data"]["class"] == OWN_LOADERS:
        raise HpoError("the study has no data module, whose method new_data could read new data: " + PAGE)
    label = config["data"]["class"]
    data_class = load_class(label, project)
    if not callable(getattr(data_class, "new_data", None)):
        raise HpoError(without_method(label))
    if not checkpoint.is_file() and not checkpoint.is_dir():
        raise LoadError(f"{checkpoint}: there is no such file; it is on the machine that trained the trial")
    state = read_state(checkpoint.with_name(PREPROCESSING))
    models = [load_model(one.config, Path(one.checkpoint), project) for one in group]
    try:
        data = build(data_class, files_for_references(config, "data"), project)
    except (TypeError, ValueError) as error:
        raise LoadError(f"{label} cannot be made again: {type(error).__name__}: {error}") from error
    if state is None:
        if callable(getattr(data, "fitted_state", None)):
            remarks.append(
                f"{PREPROCESSING} is missing beside the checkpoint: {label} was fitted again on the trial's data"
            )
        as_trained(data, config)
        state = _fitted_again(data, models[0], label, checkpoint.with_name(PREPROCESSING))
    return Prepared(data, state, models, [one.weight for one in group])


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
    return load_predictor([TrainedModel(config, str(folder / BEST_CHECKPOINT))], project)


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
