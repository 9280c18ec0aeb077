"""Networks whose size, memory, time and metrics constraints are about."""

from __future__ import annotations

import time
from typing import Annotated

import torch
from torch import Tensor, nn

from hpo.space import Float, Int
from projects.nets import FEATURES, Batch, Line


class Wide(Line):
    """One hidden layer; logs `val_recall`, which is 1 / width."""

    def __init__(
        self,
        width: Annotated[int, Int(1, 8)] = 8,
        lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2,
        mebibytes: int = 0,
        forward_seconds: float = 0.0,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(lr, seconds)
        self.save_hyperparameters()
        self.width = width
        first, last = nn.Linear(FEATURES, width, bias=False), nn.Linear(width, 1, bias=False)
        self.layer = nn.Sequential(first, nn.Dropout(0.5), last)  # type: ignore[assignment]
        self.mebibytes = mebibytes
        self.forward_seconds = forward_seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.forward_seconds * self.width)
        found: Tensor = self.layer(x)
        return found

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.ones(self.mebibytes * self.width << 18)  # of four bytes each
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val_recall", 1.0 / self.width)
