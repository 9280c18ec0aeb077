"""Models and data for trials whose length is given in steps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from hpo.space import Float, Int
from projects.nets import FEATURES, Batch, Line, Points


class Counting(Line):
    """Counts its batches in its weights, and logs the count as `trained` at each validation.

    Args:
        dies_at: is killed at this batch, once.
        folder: where it leaves a mark of that.
        seconds: of each batch.
    """

    trained: Tensor

    def __init__(
        self,
        lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2,
        seconds: float = 0.0,
        dies_at: int = 0,
        folder: str = "",
    ) -> None:
        super().__init__(lr=lr)
        self.seconds_of_batch, self.dies_at, self.folder = seconds, dies_at, folder
        self.register_buffer("trained", torch.zeros(()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        time.sleep(self.seconds_of_batch)
        self.trained += 1
        if self.dies_at and int(self.trained) == self.dies_at and not (mark := Path(self.folder) / "died").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self._loss(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("trained", self.trained)


class Alike(Counting):
    """Logs what its processes agree on."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log_dict({"val_loss": self._loss(batch), "trained": self.trained}, sync_dist=True)


class Plateau(Counting):
    """Reduces its learning rate where the loss does not fall, at the end of each epoch."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss", "strict": False}}


class Planned(Counting):
    """Logs the number of steps that its schedule has been made for, and the optimizer's steps so far."""

    def configure_optimizers(self) -> Any:
        self.planned = float(self.trainer.estimated_stepping_batches)
        return super().configure_optimizers()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log_dict({"planned": self.planned, "optimized": float(self.trainer.global_step)})


class Blind(LightningDataModule):
    """Has no data to validate on."""

    def setup(self, stage: str) -> None:
        x = torch.randn(16, FEATURES)
        self._points = TensorDataset(x, x.sum(dim=1, keepdim=True))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._points, 8)


class _Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            x = torch.randn(FEATURES)
            yield x, x.sum(dim=0, keepdim=True)


class Endless(Points):
    """Training data without an end."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(_Stream(), self.batch_size)


class Once(Points):
    """Training data that can be read once."""

    def train_dataloader(self) -> Any:
        return iter(list(DataLoader(self._points, self.batch_size)))


class Shuffled(Points):
    """The order of the training data is drawn for each epoch."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._points, self.batch_size, shuffle=True)


class Layered(Line):
    """Cannot have eight units."""

    def __init__(self, width: Annotated[int, Int(1, 8)] = 2, lr: float = 1e-2) -> None:
        super().__init__(lr=lr)
        if width == 8:
            raise ValueError("eight are too many")


class _Short(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(24):
            x = torch.randn(FEATURES)
            yield x, x.sum(dim=0, keepdim=True)


class Short(Points):
    """Training data without a length, of three batches."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(_Short(), self.batch_size)
