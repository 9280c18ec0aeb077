"""What all classification models share: the loss, the metrics and the optimizer. A model adds its layers."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, distributed
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from hpo.space import Choice, Float, When

Batch = tuple[Tensor, Tensor]  # features (batch, ...) and class numbers (batch,)

OptimizerName = Annotated[Literal["adam", "adamw", "sgd", "rmsprop"], Choice()]
LearningRate = Annotated[float, Float(1e-5, 1e-1, log=True)]
WeightDecay = Annotated[float, Float(1e-6, 1e-2, log=True)]
Momentum = Annotated[float, Float(0.0, 0.99), When(optimizer=("sgd", "rmsprop"))]

# Other devices, such as TPUs, have no fused step.
DEVICES_WITH_FUSED_STEP = frozenset({"cpu", "cuda", "mps", "xpu"})


class Classifier(LightningModule):
    """The base of classification models: forward maps features (batch, ...) to logits (batch, classes).

    Logs `train_loss`, `val_loss` and `val_accuracy` once an epoch, exact means over all samples of all ranks
    (and `test_loss`, `test_accuracy` in a test). A model adds its constructor and its forward:

        def __init__(self, in_features: int, classes: int, **common: Any) -> None:
            super().__init__(**common)
            self.save_hyperparameters()
            self.layer = nn.Linear(in_features, classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerName = "adam",
        lr: LearningRate = 1e-3,
        weight_decay: WeightDecay = 1e-4,
        momentum: Momentum = 0.9,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # also what a derived class leaves to these defaults
        self._train = EpochSums()
        self._validation = EpochSums()
        self._test = EpochSums()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        loss = functional.cross_entropy(self(x), y)
        self._train.add(len(y), loss=loss.detach() * len(y))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self._validation)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self._test)

    # Logged once an epoch: self.log in every step costs about as much as the step of a small model.

    def on_train_epoch_start(self) -> None:
        self._train.clear()

    def on_train_epoch_end(self) -> None:
        self._log_means("train", self._train)

    def on_validation_epoch_start(self) -> None:
        self._validation.clear()

    def on_validation_epoch_end(self) -> None:
        self._log_means("val", self._validation)

    def on_test_epoch_start(self) -> None:
        self._test.clear()

    def on_test_epoch_end(self) -> None:
        self._log_means("test", self._test)

    def configure_optimizers(self) -> Optimizer:
        name, lr = self.hparams["optimizer"], self.hparams["lr"]
        decay, momentum = self.hparams["weight_decay"], self.hparams["momentum"]
        fused = self.device.type in DEVICES_WITH_FUSED_STEP
        if name == "adam":
            return Adam(self.parameters(), lr=lr, weight_decay=decay, fused=fused)
        if name == "adamw":
            return AdamW(self.parameters(), lr=lr, weight_decay=decay, fused=fused)
        if name == "sgd":
            return SGD(self.parameters(), lr=lr, weight_decay=decay, momentum=momentum, fused=fused)
        if name == "rmsprop":
            # Torch has no fused RMSprop; foreach is next best, also on a CPU, where it is not the default.
            return RMSprop(self.parameters(), lr=lr, weight_decay=decay, momentum=momentum, foreach=True)
        raise ValueError(f"optimizer: '{name}' should be adam, adamw, sgd or rmsprop")

    def _evaluate(self, batch: Batch, sums: EpochSums) -> None:
        x, y = batch
        logits = self(x)
        loss = functional.cross_entropy(logits, y, reduction="sum")
        sums.add(len(y), loss=loss.detach(), accuracy=(logits.argmax(1) == y).sum())

    def _log_means(self, prefix: str, sums: EpochSums) -> None:
        # The means are the same on every rank already; without sync_dist, Lightning would warn all the same.
        self.log_dict({f"{prefix}_{name}": mean for name, mean in sums.means().items()}, sync_dist=True)


class EpochSums:
    """Sums over the samples of an epoch, kept on the device so that no step waits for their values."""

    def __init__(self) -> None:
        self._samples = 0
        self._sums: dict[str, Tensor] = {}

    def clear(self) -> None:
        self._samples = 0
        self._sums = {}

    def add(self, samples: int, **sums: Tensor) -> None:
        """A batch's sums over its samples, scalars without gradient."""
        self._samples += samples
        for name, value in sums.items():
            # In half precision a sum over an epoch would stop growing.
            exact = value.float()
            self._sums[name] = self._sums[name] + exact if name in self._sums else exact

    def means(self) -> dict[str, Tensor]:
        """Means over all samples of all ranks, which must all ask at the same time."""
        if not self._sums:
            return {}
        totals = torch.stack(list(self._sums.values()))
        totals = torch.cat([totals, totals.new_tensor([self._samples])])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(totals)
        return dict(zip(self._sums, totals[:-1] / totals[-1], strict=True))
