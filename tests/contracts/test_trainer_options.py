"""The options of a study file's `trainer:` section, in both executors: the same to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .twins import LEAN, LIGHTNING, assert_same, fit

torch.set_num_threads(1)


class Dropping(pl.LightningModule):
    """Dropout, momentum, a schedule a step, and metrics of steps and of epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.noted: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.noted.append(f"validated {self.global_step}")
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Rows(pl.LightningDataModule):
    """Seven batches, in a new order each epoch, and three to validate on."""

    def train_dataloader(self) -> Any:
        return DataLoader(self._rows(56), 8, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self._rows(24), 8)

    def _rows(self, count: int) -> Any:
        generator = torch.Generator().manual_seed(count)
        x = torch.randn(count, 3, generator=generator)
        return TensorDataset(x, x.sum(dim=1, keepdim=True))


class Noting(pl.Callback):
    """Notes the order of the hooks."""

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        norm = sum(float(p.grad.norm()) for p in pl_module.parameters() if p.grad is not None)
        pl_module.noted.append(f"step {norm:.6f}")  # type: ignore[operator, union-attr]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        pl_module.noted.append(f"batch {index} {float(outputs['loss']):.6f}")


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 3, "gradient_clip_val": 0.05},
        {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value"},
        {"limit_train_batches": 0.5, "limit_val_batches": 2},
        {"limit_train_batches": 3, "limit_val_batches": 0.4},
        {"val_check_interval": 0.5},
        {"val_check_interval": 3},
        {"val_check_interval": 0.3, "accumulate_grad_batches": 2},
        {"check_val_every_n_epoch": 2, "max_epochs": 5},
        {"check_val_every_n_epoch": None, "val_check_interval": 10, "max_epochs": 5},
        {"deterministic": True},
        {"deterministic": "warn"},
        {"callbacks": [Noting()]},
        {"callbacks": [Noting()], "accumulate_grad_batches": 2, "gradient_clip_val": 0.1, "val_check_interval": 0.25},
    ],
    ids=lambda options: " ".join(f"{k}={'Noting' if k == 'callbacks' else v}" for k, v in options.items()),
)
def test_the_lean_loop_does_the_same(options: dict[str, Any]) -> None:
    try:
        one, other = (fit(executor, lambda: (Dropping(), Rows()), **options) for executor in (LIGHTNING, LEAN))
    finally:
        torch.use_deterministic_algorithms(False)

    assert_same(one, other)
    assert one.noted
