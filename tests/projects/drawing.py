"""A model and data that draw random numbers from every generator that a trial's seed determines."""

from __future__ import annotations

import random
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hpo.space import Float
from projects.nets import FEATURES, Batch, Line, Points


class Drawing(Line):
    """Adds noise from torch, NumPy and Python, and drops units; logs a metric of its training too."""

    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.dropout = nn.Dropout(0.3)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        noise = 0.1 * torch.randn_like(x) + 0.1 * float(np.random.randn()) + 0.1 * random.random()
        loss = self._loss((self.dropout(x + noise), y))
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val_bias", self.layer.bias.detach().double().mean())


class Augmented(Dataset[tuple[Tensor, ...]]):
    """Points that are changed at random where they are read: in a process of the loader, where it has some."""

    def __init__(self, points: Dataset[tuple[Tensor, ...]], samples: int) -> None:
        self._points, self._samples = points, samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        x, y = self._points[index]
        return x + 0.1 * torch.randn(FEATURES), y


class Shuffled(Points):
    """Its training batches come in another order in each epoch, augmented, from processes of the loader if any."""

    def __init__(self, workers: int = 0, persistent: bool = False) -> None:
        super().__init__(batch_size=8, samples=64)
        self.workers = workers
        self.persistent = persistent

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            Augmented(self._points, self.samples),
            self.batch_size,
            shuffle=True,
            num_workers=self.workers,
            persistent_workers=self.persistent,
        )
