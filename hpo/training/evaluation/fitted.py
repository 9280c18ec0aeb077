"""The data of an evaluation, prepared as in the training of its models; and these models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningDataModule, LightningModule

from hpo.errors import HpoError
from hpo.loading import load_class
from hpo.study.job import EvaluationJob, TrainedModel
from hpo.training.both_parts import as_trained
from hpo.training.build import build
from hpo.training.devices import accelerator_of
from hpo.training.inspection.layout import Layout, layout_of
from hpo.training.inspection.samples import Array, Samples, read_part
from hpo.training.inspection.series import is_forecast
from hpo.training.lean.hooks import is_overridden
from hpo.training.load_model import files_for_references, load_model
from hpo.training.own_loaders import OwnLoaders

LOADERS = {"train": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}


class EvaluationError(HpoError):
    """A part cannot be evaluated; the message says why."""


@dataclass(frozen=True)
class Fitted:
    """A data module after its set-up for a fit, and for a test where that part is evaluated.

    Attributes:
        owner: of the loaders: the data module, or the model of a study without one.
    """

    data: Any
    owner: Any
    part: str
    project: Path
    device: torch.device

    def loader(self, part: str | None = None) -> Any:
        """The loader of a part, by default of the evaluated one.

        Raises:
            EvaluationError: there is none, or several.
        """
        name = LOADERS[part or self.part]
        found = getattr(self.owner, name)()
        while isinstance(found, list | tuple) and len(found) == 1:
            found = found[0]
        if found is None or isinstance(found, list | tuple | Mapping):
            count = "no loader" if not found else f"{len(found)} loaders"
            raise EvaluationError(f"{type(self.owner).__name__}: {name} gives {count}, one is needed")
        return found

    def count(self) -> int:
        """The number of batches of the evaluated part.

        Raises:
            EvaluationError: it has none.
        """
        base = LightningModule if isinstance(self.owner, LightningModule) else LightningDataModule
        who, name = type(self.owner).__name__, LOADERS[self.part]
        if not is_overridden(name, self.owner, base):
            raise EvaluationError(f"{who} has no {self.part} part: it has no method {name}()")
        try:
            batches = sum(1 for _ in self.loader())
        except ValueError as error:  # as data modules say that a part is empty
            raise EvaluationError(f"{who} has no {self.part} part: {error}") from error
        if not batches:
            raise EvaluationError(f"{who} has no {self.part} part: {name}() gives no batches")
        return batches

    def samples(self, part: str | None = None) -> Samples:
        """A part's samples, or as many of them as fit into a bounded memory."""
        return read_part(self.loader(part), part or self.part)

    @cached_property
    def layout(self) -> Layout:
        return layout_of(self.data, [self.samples("train"), self.samples("validation")])

    def in_unit(self, values: Array, part: str | None = None) -> Array:
        """Targets of a part (samples, outputs), or predictions of them, in the data's own unit."""
        mean, scale = (np.asarray(getattr(self.data, name, ()), np.float64) for name in ("target_mean", "target_scale"))
        if values.ndim > 1 and 0 < len(mean) == len(scale) == values.shape[-1]:
            values = values * scale + mean
        return self.restored(values, part)

    def restored(self, values: Array, part: str | None = None) -> Array:
        """The same of values that differ from original ones by a transformation only, such as differences."""
        if not is_forecast(self.data):
            return values
        restored = self.data.restore(part or self.part, torch.from_numpy(np.asarray(values, np.float64)))
        return np.asarray(restored.numpy(), np.float64)

    def model(self, trained: TrainedModel) -> LightningModule:
        """The model with its weights, on the device."""
        return load_model(trained.config, Path(trained.checkpoint), self.project).to(self.device)


def fitted_data(job: EvaluationJob, trained: TrainedModel) -> Fitted:
    """The data as a model's training had it.

    Raises:
        EvaluationError: it cannot be set up for a test.
    """
    project, config = Path(job.project), trained.config
    data = build(load_class(config["data"]["class"], project), files_for_references(config, "data"), project)
    device = torch.device("cuda" if accelerator_of(job) == "gpu" else "cpu")
    if isinstance(data, OwnLoaders):
        model = load_model(config, Path(trained.checkpoint), project)
        return Fitted(data, model, job.part, project, device)
    as_trained(data, config)
    data.trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )  # from which loaders may read the device
    data.prepare_data()
    data.setup(stage="fit")
    if job.part == "test":
        try:
            data.setup(stage="test")
        except Exception as error:  # of the user's code
            raise EvaluationError(f"{type(data).__name__} has no test part: {type(error).__name__}: {error}") from error
    return Fitted(data, data, job.part, project, device)
