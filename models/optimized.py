"""The common base of all models: the optimizer, its schedule, gradient clipping, and the loss of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from models.averaging import WeightAverage
from models.optimization import (
    LearningRate,
    OptimizerName,
    ScheduleName,
    WeightDecay,
    make_optimizer,
    make_schedule,
)


class Optimized(LightningModule):
    """The base of all models: a training step calls `learn_from`, and `train_loss` is logged once an epoch.

    Args:
        average: decay of an exponential average of the weights, such as 0.99, which is then what is validated and kept,
            see models.averaging; 0 keeps the weights themselves.
        gradient_clip: largest norm of the gradient; 0 does not clip.
        momentum: of sgd and rmsprop; nesterov: of sgd.
        schedule, warmup: described in models.optimization.make_schedule.

    Raises:
        ValueError: a number is out of range.
    """

    starts_late = False  # whether some parameters begin to learn later than others

    def __init__(
        self,
        *,
        optimizer: OptimizerName = "adam",
        lr: LearningRate = 1e-3,
        weight_decay: WeightDecay = 1e-4,
        momentum: float = 0.9,
        nesterov: bool = False,
        schedule: ScheduleName = "constant",
        warmup: float = 0.0,
        gradient_clip: float = 0.0,
        average: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # including these defaults, where a derived class does not set them
        who = type(self).__name__
        if not 0 <= warmup <= 1:
            raise ValueError(f"{who}: warmup {warmup} should be a fraction from 0 to 1")
        if gradient_clip < 0:
            raise ValueError(f"{who}: gradient_clip {gradient_clip} should be the largest norm, or 0 for any")
        if not 0 <= average < 1:
            raise ValueError(f"{who}: average {average} should be 0 for none, or below 1")
        self._train_losses: list[tuple[Tensor, int]] = []
        if average:
            WeightAverage(self, average).follow()

    def learn_from(self, loss: Tensor, count: int) -> Tensor:
        """Return the loss unchanged, and record it for the epoch's mean over so many targets."""
        # Logged once an epoch: self.log in every step costs about as much as the step of a small model.
        self._train_losses.append((loss.detach(), count))
        return loss

    def on_train_epoch_start(self) -> None:
        self._train_losses.clear()

    def on_train_epoch_end(self) -> None:
        if self._train_losses:
            losses = torch.stack([loss for loss, _ in self._train_losses]).float()  # half-precision sums saturate
            targets = losses.new_tensor([count for _, count in self._train_losses])
            sums = self.trainer.strategy.reduce(torch.stack([losses @ targets, targets.sum()]), reduce_op="sum")
            self.log("train_loss", sums[0] / sums[1], sync_dist=True)

    def configure_optimizers(self) -> Any:
        given = self.hparams
        chosen = {name: given[name] for name in ("lr", "weight_decay", "momentum", "nesterov")}
        is_mixed = self._trainer is not None and "mixed" in str(self.trainer.precision)
        is_late = self.starts_late and given["optimizer"] == "sgd"  # whose fused step starts all momenta at once
        may_fuse = not (is_mixed and given["gradient_clip"]) and not is_late
        device = self.device.type
        optimizer = make_optimizer(given["optimizer"], self.trained(), device=device, may_fuse=may_fuse, **chosen)
        if given["schedule"] == "constant" and given["warmup"] == 0:
            return optimizer  # the number of steps need not be known
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            who = type(self).__name__
            raise ValueError(f"{who}: schedule '{given['schedule']}' needs the number of epochs: set max_epochs")
        schedule = make_schedule(given["schedule"], optimizer, steps=int(steps), warmup=given["warmup"])
        return {"optimizer": optimizer} | ({} if schedule is None else {"lr_scheduler": schedule})

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        largest = self.hparams["gradient_clip"] if gradient_clip_val is None else gradient_clip_val
        if not largest:
            return
        if isinstance(self.trainer.strategy, FSDPStrategy):
            whole: Any = self.trainer.model
            whole.clip_grad_norm_(largest)  # the norm of all ranks together
        else:
            self.clip_gradients(optimizer, gradient_clip_val=largest, gradient_clip_algorithm=gradient_clip_algorithm)

    def trained(self) -> Iterable[nn.Parameter] | list[dict[str, Any]]:
        """The parameters for the optimizer, or groups of them with their options."""
        return self.parameters()
