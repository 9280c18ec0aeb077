"""A data module of given tensors, and modules that are given functions: what an evaluation is tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from hpo.training.evaluation.fitted import Fitted


class Arrays(LightningDataModule):
    """Batches of these tensors, in training and in validation."""

    def __init__(self, *tensors: Tensor, batch_size: int = 16, **attributes: Any) -> None:
        super().__init__()
        self._samples = TensorDataset(*tensors)
        self._batch_size = batch_size
        for name, value in attributes.items():
            setattr(self, name, value)

    def train_dataloader(self) -> Any:
        return self.val_dataloader()

    def val_dataloader(self) -> Any:
        return DataLoader(self._samples, self._batch_size)


class Forward(LightningModule):
    """Gives what a function makes of its inputs."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, inputs: Any) -> Any:
        return self._function(inputs)


def fitted_of(data: LightningDataModule) -> Fitted:
    return Fitted(data, data, "validation", Path(), torch.device("cpu"))
