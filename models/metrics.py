"""Scores of an epoch's predictions, by torchmetrics, from everything that was predicted in it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torchmetrics.functional.classification import (
    binary_auroc,
    multiclass_auroc,
    multiclass_confusion_matrix,
)
from torchmetrics.functional.regression import r2_score
from torchmetrics.utilities.distributed import gather_all_tensors


class Predictions:
    """An epoch's outputs and targets, kept on the device so that no step waits for their values."""

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def clear(self) -> None:
        self._outputs, self._targets = [], []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self._outputs.append(outputs.detach().float())
        self._targets.append(targets)

    def gather(self) -> tuple[Tensor, Tensor] | None:
        """(outputs, targets) of all ranks, which must all ask at the same time; None when there are none."""
        if not self._outputs:
            return None
        outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
        if distributed.is_available() and distributed.is_initialized():
            outputs = torch.cat(gather_all_tensors(outputs.contiguous()))
            targets = torch.cat(gather_all_tensors(targets.contiguous()))
        return outputs, targets


def classification_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Scores from a confusion matrix (true classes, predicted classes).

    Precision, recall and F1 are macro averages over the classes that occur, in the truth or among the predictions;
    balanced accuracy is the mean recall of the classes that occur in the truth. As scikit-learn has them, with 0
    where nothing was predicted.
    """
    counts = confusion.double()
    right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    recall, precision = right / true.clamp(min=1), right / predicted.clamp(min=1)
    f1 = 2 * right / (true + predicted).clamp(min=1)
    occurs, is_true = (true + predicted) > 0, true > 0
    return {
        "accuracy": right.sum() / counts.sum(),
        "balanced_accuracy": recall[is_true].mean(),
        "precision": precision[occurs].mean(),
        "recall": recall[occurs].mean(),
        "f1": f1[occurs].mean(),
    }


def confusion_matrix(outputs: Tensor, targets: Tensor) -> Tensor:
    """(true classes, predicted classes), from logits (samples, classes), of a binary task (samples,)."""
    if outputs.ndim == 1:
        return multiclass_confusion_matrix((outputs > 0).long(), targets, 2, validate_args=False)
    return multiclass_confusion_matrix(outputs.argmax(1), targets, outputs.shape[1], validate_args=False)


def auroc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Area under the ROC curve; of several classes, the mean of each against the rest."""
    if outputs.ndim == 1:
        return binary_auroc(outputs, targets, validate_args=False)
    return multiclass_auroc(outputs.softmax(1), targets, outputs.shape[1], validate_args=False)


def regression_scores(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """MAE, MSE, RMSE, and R2 as the mean over the values, from outputs and targets (samples, values)."""
    error = (outputs - targets).double()
    scores = {"mae": error.abs().mean(), "mse": error.square().mean()}
    scores["rmse"] = scores["mse"].sqrt()
    if len(outputs) > 1:  # of one sample, no variance could be explained
        scores["r2"] = r2_score(outputs, targets)
    return scores
