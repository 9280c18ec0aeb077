"""A model that trains slowly without learning, and records when and by which process it was trained, and from where.

The experiments compare the store with this diary.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hpo.space import Float

STEPS = 5  # of an epoch, each a record of the diary
FEATURES = 4


class Points(LightningDataModule):
    """Points of a plane; (batch, FEATURES) and (batch, 1)."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(_points(STEPS), batch_size=1)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(_points(1), batch_size=1)


class Slow(LightningModule):
    """Sleeps through its epochs.

    Args:
        diary: the file that all trials append to, a line for each event.
        seconds: of an epoch.
    """

    def __init__(self, diary: str, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2, seconds: float = 0.5):
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.seconds = seconds
        self.diary = Path(diary)
        self.layer = nn.Linear(FEATURES, 1)

    def on_fit_start(self) -> None:
        last = Path(self.trainer.default_root_dir) / "last.ckpt"
        self._write("start", checkpoint=last.exists(), devices=os.environ["CUDA_VISIBLE_DEVICES"])

    def on_train_start(self) -> None:
        self._write("from", epoch=self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self._write("step", epoch=self.current_epoch)
        time.sleep(self.seconds / STEPS)
        return self._loss(batch)

    def on_train_epoch_end(self) -> None:
        self._write("epoch", epoch=self.current_epoch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def on_train_end(self) -> None:
        self._write("end")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def _write(self, what: str, **more: Any) -> None:
        trial = Path(self.trainer.default_root_dir).name
        line = {"what": what, "trial": trial, "pid": os.getpid(), "at": time.monotonic(), **more}
        # One append of less than a page is never mixed with another process's.
        descriptor = os.open(self.diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.close(descriptor)


class Tiny(Slow):
    """Without a pause, and without a diary."""

    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(diary=os.devnull, lr=lr, seconds=0.0)

    def _write(self, what: str, **more: Any) -> None:
        pass


def _points(count: int) -> TensorDataset:
    x = torch.randn(count, FEATURES)
    return TensorDataset(x, x.sum(dim=1, keepdim=True))
