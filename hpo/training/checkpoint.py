"""Loads a trial's best weights without unpickling code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule

from hpo.errors import LoadError
from hpo.loading import load_class
from hpo.training.build import build


def load_model(config: Mapping[str, Any], checkpoint: Path, project: Path) -> LightningModule:
    """The module that `config` describes (its class, and its constructor's arguments) with the checkpoint's weights.

    Raises:
        LoadError: the file does not exist, is not a checkpoint of this model, or the class cannot be imported.
    """
    model_class = load_class(config["class"], project)
    arguments = {name: value for name, value in config.items() if name != "class"}
    model: LightningModule = build(model_class, arguments, project)
    try:
        # weights_only: a checkpoint is data, and reading it must not run code
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict(state)
    except FileNotFoundError:
        raise LoadError(f"{checkpoint}: there is no such file; it is on the machine that trained the trial") from None
    except (RuntimeError, KeyError, pickle.UnpicklingError, EOFError) as error:
        raise LoadError(f"{checkpoint} does not hold the weights of {config['class']}: {error}") from error
    return model.eval()
