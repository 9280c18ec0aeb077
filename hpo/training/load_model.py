"""Loads a trial's best model as Lightning loads a checkpoint, without running code that is in the file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.core.saving import _load_state

from hpo.errors import LoadError
from hpo.loading import load_class
from hpo.space import arguments_of
from hpo.training.arguments import given_by_data
from hpo.training.build import build, made_arguments
from hpo.training.checkpoint import RECORD, needed_but_left_out, read
from hpo.training.preparation import check_batches_of


def load_model(config: Mapping[str, Any], checkpoint: Path, project: Path) -> LightningModule:
    """The module of a trial with the checkpoint's weights, on the CPU and in evaluation mode.

    Its hooks `configure_model` and `on_load_checkpoint`, and its `strict_loading`, have their effect. It refuses
    batches of a data module that has fitted other scalings and the like than that of its training.

    Args:
        config: of the trial: `model`, and `data` for arguments that only the data module has.
        project: the folder that classes are imported from.

    Raises:
        LoadError: the file does not exist, is not a checkpoint of this model, or a class cannot be imported or built.
    """
    label = config["model"]["class"]
    model_class = load_class(label, project)
    if not issubclass(model_class, LightningModule):  # before anything is made of it
        raise LoadError(f"{label} is not a LightningModule")
    try:
        contents = read(checkpoint)
        if "state_dict" not in contents:
            raise ValueError("it has no state_dict")
    except FileNotFoundError:
        raise LoadError(f"{checkpoint}: there is no such file; it is on the machine that trained the trial") from None
    except OSError as error:  # such as the folder of a sharded checkpoint
        raise LoadError(f"{checkpoint} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, LookupError, ValueError, pickle.UnpicklingError, EOFError) as error:
        raise LoadError(f"{checkpoint} does not hold the weights of {label}: {error}") from error
    arguments, given = _arguments(model_class, config, contents, project)
    try:
        made = made_arguments(model_class, arguments, project) | given
        model = _load_state(model_class, contents, **made)
    except (RuntimeError, LookupError, TypeError) as error:
        missing = needed_but_left_out(contents)
        without = f"; the checkpoint is without {', '.join(missing)}" if missing else ""
        reason = f"{type(error).__name__}: {error}{without}"
        raise LoadError(f"{checkpoint} does not hold the weights of {label}: {reason}") from error
    assert isinstance(model, LightningModule)
    trained = contents.get(RECORD, {}).get("preparation")
    if trained is not None:
        check_batches_of(model, trained)
    return model.eval()


def _arguments(
    model_class: type[Any], config: Mapping[str, Any], contents: Mapping[str, Any], project: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The constructor's arguments: as configured; and as the data module gave them, else from a data module again."""
    record = contents.get(RECORD, {})
    kept: dict[str, Any] = record.get("given", {})
    arguments = {name: value for name, value in files_for_references(config, "model").items() if name not in kept}
    required = [argument.name for argument in arguments_of(model_class) if not argument.has_default]
    saved = contents.get(LightningModule.CHECKPOINT_HYPER_PARAMS_KEY, {})
    known = {name.partition(".")[0] for name in arguments} | kept.keys() | saved.keys()
    missing = [name for name in dict.fromkeys([*required, *record.get("given_names", [])]) if name not in known]
    if not missing:
        return arguments, kept
    if "data" not in config:
        raise LoadError(f"{model_class.__name__} needs {', '.join(missing)}, which the checkpoint does not hold")
    try:
        data_class = load_class(config["data"]["class"], project)
        data = build(data_class, files_for_references(config, "data"), project)
        data.prepare_data()
        data.setup(stage="fit")
        given = given_by_data(model_class, arguments | kept, data)
    except Exception as error:  # of the user's code
        raise LoadError(
            f"{model_class.__name__} needs {', '.join(missing)}, which the checkpoint does not hold, from its data "
            f"module, and {config['data']['class']} failed: {type(error).__name__}: {error}"
        ) from error
    return arguments, kept | {name: given[name] for name in missing if name in given}


def files_for_references(config: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The configured arguments, with the files of other trials' weights in place of references, where these exist."""
    weights = config.get("weights", {})

    def resolved(value: Any) -> Any:
        found = weights.get(value) if isinstance(value, str) else None
        return found["checkpoint"] if found is not None and Path(found["checkpoint"]).is_file() else value

    return {name: resolved(value) for name, value in config[owner].items() if name != "class"}
