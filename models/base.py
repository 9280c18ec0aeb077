"""The common base of all supervised models: the loss, the scores, and an optimizer. A model adds its layers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from hpo.space import FromData
from models.losses import LossName, Task, balanced_weights, loss_of, resolve_loss
from models.metrics import Floats, Predictions, auroc, classification_scores, confusion_matrix, regression_scores
from models.optimized import Optimized

Batch = tuple[Any, Tensor]

IGNORED = -100  # the class number of entries without a target, such as padding; torch's convention


class Supervised(Optimized):
    """The base of classifiers and regressions: forward maps inputs (batch, ...) to outputs (batch, ..., outputs).

    Outputs are logits of the classes, of a binary task one logit, of a regression standardised values. Targets are
    class numbers (batch, ...) or standardised values (batch, ..., outputs). Where a sample has several, such as a
    sequence with a target per step, padding is IGNORED or NaN, and is excluded from losses and scores.

    Logs once an epoch, over all targets of all ranks: `train_loss`, `val_loss`, and
        of a classification  val_accuracy, val_balanced_accuracy, val_auroc, and the macro averages val_precision,
                             val_recall and val_f1; models.metrics describes how classes that do not occur count
        of a regression      val_mae, val_mse, val_rmse in the data's unit, val_r2
    and the same with `test_` in a test. Scores that are undefined for the samples, such as the AUROC of one class, are
    not logged. A model adds its constructor and its forward:

        def __init__(self, in_features: int, outputs: int, **common: Any) -> None:
            super().__init__(**common)
            self.save_hyperparameters()
            self.layer = nn.Linear(in_features, outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    Args:
        task, class_counts, target_mean, target_scale: from the data module.
        label_smoothing: of the training loss, not of the validation loss.
        class_weight: balanced weighs a class inversely to its frequency, in the loss only.
        optimization: of models.optimized.Optimized.

    Raises:
        ValueError: a loss or a weighting is not for this task, or a number is out of range.
    """

    confusion: Tensor | None = None  # (true classes, predicted classes) of the last validation or test

    def __init__(
        self,
        *,
        task: Annotated[Task, FromData()] = "multiclass",
        loss: LossName = "auto",
        label_smoothing: float = 0.0,
        class_weight: Literal["none", "balanced"] = "none",
        class_counts: Annotated[tuple[int, ...], FromData()] = (),
        target_mean: Annotated[tuple[float, ...], FromData()] = (),
        target_scale: Annotated[tuple[float, ...], FromData()] = (),
        **optimization: Any,
    ) -> None:
        super().__init__(**optimization)
        self._check()
        self._loss = resolve_loss(loss, task, who=type(self).__name__)
        weights = balanced_weights(tuple(class_counts)) if class_weight == "balanced" else None
        self.register_buffer("_class_weights", weights, persistent=False)
        self._class_weights: Tensor | None
        self._predictions = Predictions()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, targets = batch
        outputs, targets = self._flat(self(inputs), targets)
        loss = self._loss_of(outputs, targets, label_smoothing=self.hparams["label_smoothing"])
        return self.learn_from(loss, len(targets))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._predictions.add(*self._flat(self(batch[0]), batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Probabilities (batch, ..., classes), of a binary task (batch, ...), or values in the data's unit."""
        outputs = _at_least_single(self(batch if isinstance(batch, Tensor) else batch[0]))
        match self.hparams["task"]:
            case "multiclass":
                return outputs.softmax(-1)
            case "binary":
                return outputs.squeeze(-1).sigmoid()
        mean, scale = self._unit()
        return outputs * outputs.new_tensor(scale) + outputs.new_tensor(mean)

    def on_validation_epoch_start(self) -> None:
        self._predictions.clear()

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def on_test_epoch_start(self) -> None:
        self._predictions.clear()

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def _loss_of(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        weights = None if self._class_weights is None else self._class_weights.to(outputs.dtype)
        return loss_of(self._loss, outputs, targets, label_smoothing=label_smoothing, class_weights=weights)

    def _flat(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and targets with one row per target, at least in single precision, without padding."""
        outputs = _at_least_single(outputs)
        if self.hparams["task"] == "regression":
            outputs = outputs.reshape(-1, outputs.shape[-1])
            flat = targets.to(outputs.dtype).reshape(outputs.shape)
            known = ~flat.isnan().any(1) if targets.ndim > 2 else None
        elif self.hparams["task"] == "multiclass" and targets.is_floating_point():  # probabilities of the classes
            outputs = outputs.flatten(end_dim=-2)
            flat, known = targets.to(outputs.dtype).reshape(outputs.shape), None
        else:
            outputs = outputs.reshape(-1) if self.hparams["task"] == "binary" else outputs.flatten(end_dim=-2)
            flat = targets.reshape(-1)
            known = flat != IGNORED if targets.ndim > 1 else None
        return (outputs, flat) if known is None else (outputs[known], flat[known])

    def _log_scores(self, prefix: str) -> None:
        gathered = self._predictions.gather()
        self._predictions.clear()
        if gathered is None:
            return
        scores: dict[str, Any] = {"loss": self._loss_of(*gathered)}
        outputs, targets = (part.cpu().numpy() for part in gathered)
        if self.hparams["task"] == "regression":
            mean, scale = self._unit()
            scores |= regression_scores(outputs * scale + mean, targets * scale + mean)
        else:
            confusion = confusion_matrix(outputs, targets)
            self.confusion = torch.from_numpy(confusion)
            scores |= classification_scores(confusion)
            likely = outputs if outputs.ndim == 1 else gathered[0].softmax(1).cpu().numpy()
            if (area := auroc(likely, targets)) is not None:
                scores["auroc"] = area
        # The scores are the same on every rank already; without sync_dist, Lightning would warn all the same.
        self.log_dict({f"{prefix}_{name}": value for name, value in scores.items()}, sync_dist=True)

    def _unit(self) -> tuple[Floats, Floats]:
        """Mean and scale of the data's unit; they are not buffers, which half precision would round."""
        mean, scale = self.hparams["target_mean"] or (0.0,), self.hparams["target_scale"] or (1.0,)
        return np.array(mean, np.float64), np.array(scale, np.float64)

    def _check(self) -> None:
        given, who = self.hparams, type(self).__name__
        if given["class_weight"] not in ("none", "balanced"):
            raise ValueError(f"{who}: class_weight '{given['class_weight']}' should be none or balanced")
        if given["class_weight"] == "balanced" and not given["class_counts"]:
            raise ValueError(f"{who}: class_weight 'balanced' needs class_counts, which classification data has")
        if given["label_smoothing"] and given["task"] == "regression":
            raise ValueError(f"{who}: label_smoothing {given['label_smoothing']} is for classes, not for a regression")
        if not 0 <= given["label_smoothing"] <= 1:
            raise ValueError(f"{who}: label_smoothing {given['label_smoothing']} should be a fraction from 0 to 1")


def _at_least_single(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
