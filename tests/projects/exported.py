"""Models that cannot be exported in every format, each for a reason of its own."""

from __future__ import annotations

from typing import Annotated

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from hpo.space import Float
from projects.nets import FEATURES, Batch


class Plain(LightningModule):
    """Features (batch, FEATURES) -> a value (batch, 1), without a `predict_step`."""

    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return functional.mse_loss(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", functional.mse_loss(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> SGD:
        return SGD(self.parameters(), lr=self.hparams["lr"])


class Gamma(Plain):
    """(batch, FEATURES) -> (batch, 1), by an operation that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.lgamma(1 + self.layer(x).abs())
        return found


class Branching(Plain):
    """(batch, FEATURES) -> (batch, 1), in one of two ways, by the values of the input."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found if found.sum() > 0 else -found
