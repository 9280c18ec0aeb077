"""Modules whose checkpoints hold more than tensors."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from projects.nets import Gated, Line, Points


class Fed(Points):
    """Has a number of NumPy's, an array and an object for its model."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.classes = np.arange(3).max()
        self.weights = np.array([1.0, 2.0])
        self.tokenizer = functools.partial(int, base=2)


class Feeding(Gated):
    """Takes them, and keeps a scaler in its checkpoints."""

    def __init__(self, gate: str, classes: Any, weights: Any, tokenizer: Any, lr: float = 1e-2) -> None:
        super().__init__(gate, lr)
        self.save_hyperparameters()
        self.given = int(classes), weights.tolist(), tokenizer("10")
        self.epochs = np.zeros(1)

    def on_train_epoch_end(self) -> None:
        self.epochs = self.epochs + 1
        self.log("epochs", float(self.epochs[0]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["scaler"] = {"epochs": self.epochs, "folder": Path("/scaler")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.epochs = checkpoint["scaler"]["epochs"]


class Hoarding(Gated):
    """Needs an object from its checkpoints."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["tokenizer"] = functools.partial(int, base=2)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.tokenizer = checkpoint["tokenizer"]


class Named(Points):
    """Has a hyperparameter of the model's name, with another value."""

    def __init__(self, lr: str = "not a rate") -> None:
        super().__init__()
        self.save_hyperparameters()


class Writing(Line):
    """Writes to its logger, as tutorials do, and keeps checkpoints of its own."""

    def configure_callbacks(self) -> Any:
        return [LearningRateMonitor(), ModelCheckpoint(monitor="val_loss", filename="own")]

    def on_train_start(self) -> None:
        assert isinstance(self.logger, CSVLogger)
        self.logger.log_hyperparams({"by_hand": 1})
        self.logger.experiment.log_metrics({"by_experiment": 2.0}, step=0)
