"""What all supervised models share: the loss, the scores, the optimizer and its schedule. A model adds its layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from hpo.space import Given
from models.losses import LossName, Task, balanced_weights, loss_of, resolve_loss
from models.metrics import Predictions, auroc, classification_scores, confusion_matrix, regression_scores
from models.optimization import (
    LearningRate,
    Momentum,
    Nesterov,
    OptimizerName,
    ScheduleName,
    Warmup,
    WeightDecay,
    make_optimizer,
    make_schedule,
)

Batch = tuple[Any, Tensor]

IGNORED = -100  # a class number that is no target, such as that of padding; torch's own convention


class Supervised(LightningModule):
    """The base of classifiers and regressions: forward maps inputs (batch, ...) to outputs (batch, ..., outputs).

    Outputs are logits of the classes, of a binary task one logit, of a regression standardised values. Targets are
    class numbers (batch, ...), IGNORED where there is none, or values (batch, ..., outputs), NaN where there is none.

    Logs once an epoch, over all samples of all ranks: `train_loss`, `val_loss`, and
        of a classification  val_accuracy, val_balanced_accuracy, val_precision, val_recall, val_f1 (macro averages),
                             and val_auroc, of several classes only with `multiclass_auroc`, which takes 4 ms
        of a regression      val_mae, val_mse, val_rmse in the data's unit, val_r2
    and the same with `test_` in a test, which always has the AUROC. A model adds its constructor and its forward:

        def __init__(self, in_features: int, outputs: int, **common: Any) -> None:
            super().__init__(**common)
            self.save_hyperparameters()
            self.layer = nn.Linear(in_features, outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    Args:
        task, class_counts, target_mean, target_scale: as the data module has them.
        class_weight: balanced weighs a class inversely to how often it occurs.
        gradient_clip: largest norm of the gradient; 0 does not clip.
        warmup: fraction of all steps in which the learning rate rises.
    """

    def __init__(
        self,
        *,
        task: Annotated[Task, Given()] = "multiclass",
        loss: LossName = "auto",
        label_smoothing: float = 0.0,
        class_weight: Literal["none", "balanced"] = "none",
        class_counts: Annotated[tuple[int, ...], Given()] = (),
        target_mean: Annotated[tuple[float, ...], Given()] = (),
        target_scale: Annotated[tuple[float, ...], Given()] = (),
        multiclass_auroc: bool = False,
        optimizer: OptimizerName = "adam",
        lr: LearningRate = 1e-3,
        weight_decay: WeightDecay = 1e-4,
        momentum: Momentum = 0.9,
        nesterov: Nesterov = False,
        schedule: ScheduleName = "constant",
        warmup: Warmup = 0.0,
        gradient_clip: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # also what a derived class leaves to these defaults
        self._loss = resolve_loss(loss, task)
        weights = balanced_weights(tuple(class_counts)) if class_weight == "balanced" and class_counts else None
        self.register_buffer("_class_weights", weights, persistent=False)
        self.register_buffer("_mean", torch.tensor(target_mean or (0.0,)), persistent=False)
        self.register_buffer("_scale", torch.tensor(target_scale or (1.0,)), persistent=False)
        self._class_weights: Tensor | None
        self._mean: Tensor
        self._scale: Tensor
        self._train_loss: list[tuple[Tensor, int]] = []
        self._predictions = Predictions()
        self.confusion: Tensor | None = None  # (true classes, predicted classes) of the last validation or test

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, targets = batch
        outputs, targets = self._flat(self(inputs), targets)
        loss = self._loss_of(outputs, targets, label_smoothing=self.hparams["label_smoothing"])
        self._train_loss.append((loss.detach(), len(targets)))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._predictions.add(*self._flat(self(batch[0]), batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities (batch, ..., classes), of a binary task (batch, ...), or values in the data's unit."""
        outputs: Tensor = self(batch[0])
        match self.hparams["task"]:
            case "multiclass":
                return outputs.softmax(-1)
            case "binary":
                return outputs.squeeze(-1).sigmoid()
        return outputs * self._scale + self._mean

    # Logged once an epoch: self.log in every step costs about as much as the step of a small model.

    def on_train_epoch_start(self) -> None:
        self._train_loss.clear()

    def on_train_epoch_end(self) -> None:
        if self._train_loss:
            losses = torch.stack([loss for loss, _ in self._train_loss])
            samples = losses.new_tensor([count for _, count in self._train_loss])
            self.log("train_loss", (losses * samples).sum() / samples.sum(), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        self._predictions.clear()

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val", with_auroc=self.hparams["multiclass_auroc"])

    def on_test_epoch_start(self) -> None:
        self._predictions.clear()

    def on_test_epoch_end(self) -> None:
        self._log_scores("test", with_auroc=True)

    def configure_optimizers(self) -> Any:
        given = self.hparams
        names = ("lr", "weight_decay", "momentum", "nesterov")
        chosen = {name: given[name] for name in names}
        optimizer = make_optimizer(given["optimizer"], self.trained(), device=self.device.type, **chosen)
        if given["schedule"] == "constant" and given["warmup"] == 0:
            return optimizer  # the number of steps need not be known
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = make_schedule(given["schedule"], optimizer, steps=steps, warmup=given["warmup"])
        return {"optimizer": optimizer} | ({} if schedule is None else {"lr_scheduler": schedule})

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        most = gradient_clip_val or self.hparams["gradient_clip"]
        self.clip_gradients(optimizer, gradient_clip_val=most, gradient_clip_algorithm=gradient_clip_algorithm)

    def trained(self) -> Iterable[nn.Parameter] | list[dict[str, Any]]:
        """What the optimizer gets: parameters, or groups of them with options of their own."""
        return self.parameters()

    def _loss_of(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return loss_of(self._loss, outputs, targets, label_smoothing=label_smoothing, class_weights=self._class_weights)

    def _flat(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """One row a target, and those left out that are none."""
        if self.hparams["task"] == "regression":
            outputs = outputs.reshape(-1, outputs.shape[-1])
            flat = targets.reshape(outputs.shape)
            if targets.ndim > 2:
                known = ~flat.isnan().any(1)
                return outputs[known], flat[known]
            return outputs, flat
        flat = targets.reshape(-1)
        outputs = outputs.reshape(-1) if self.hparams["task"] == "binary" else outputs.reshape(-1, outputs.shape[-1])
        if targets.ndim > 1:
            known = flat != IGNORED
            return outputs[known], flat[known]
        return outputs, flat

    def _log_scores(self, prefix: str, *, with_auroc: bool) -> None:
        gathered = self._predictions.gather()
        self._predictions.clear()
        if gathered is None:
            return
        outputs, targets = gathered
        scores = {"loss": self._loss_of(outputs, targets)}
        if self.hparams["task"] == "regression":
            scores |= regression_scores(outputs * self._scale + self._mean, targets * self._scale + self._mean)
        else:
            self.confusion = confusion_matrix(outputs, targets)
            scores |= classification_scores(self.confusion)
            if with_auroc or self.hparams["task"] == "binary":
                scores["auroc"] = auroc(outputs, targets)
        # The scores are the same on every rank already; without sync_dist, Lightning would warn all the same.
        self.log_dict({f"{prefix}_{name}": value.float() for name, value in scores.items()}, sync_dist=True)
