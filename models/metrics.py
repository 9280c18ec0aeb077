"""Scores of all predictions of an epoch.

Tests check that they equal those of torchmetrics and scikit-learn. They are computed from one confusion matrix and
from ranks, in numpy: 0.3 ms for 359 samples of 10 classes, where torchmetrics takes 5 and an epoch of a small model 20.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torchmetrics.utilities.distributed import gather_all_tensors

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


class Predictions:
    """An epoch's outputs and targets, kept on the device so that no step waits for their values."""

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def clear(self) -> None:
        self._outputs, self._targets = [], []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self._outputs.append(outputs.detach())
        self._targets.append(targets)

    def gather(self) -> tuple[Tensor, Tensor] | None:
        """(outputs, targets) of all ranks, which must all call this together; None when there are none."""
        if not self._outputs:
            return None
        outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
        if distributed.is_available() and distributed.is_initialized():
            outputs = torch.cat(gather_all_tensors(outputs.contiguous()))
            targets = torch.cat(gather_all_tensors(targets.contiguous()))
        return (outputs, targets) if len(targets) else None


def confusion_matrix(outputs: Floats, targets: Ints) -> Ints:
    """(true classes, predicted classes), from logits (samples, classes), of a binary task (samples,)."""
    classes = 2 if outputs.ndim == 1 else outputs.shape[1]
    predicted = outputs > 0 if outputs.ndim == 1 else outputs.argmax(1)
    counts: Ints = np.bincount(targets * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def classification_scores(confusion: Ints) -> dict[str, float]:
    """Scores from a confusion matrix (true classes, predicted classes).

    Precision, recall and F1 are macro averages over the classes that occur, in the truth or among the predictions;
    balanced accuracy is the mean recall of the classes that occur in the truth. They equal scikit-learn's, with 0
    where nothing was predicted.
    """
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall, precision = right / np.maximum(true, 1), right / np.maximum(predicted, 1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    occurs = true + predicted > 0
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        "balanced_accuracy": float(recall[true > 0].mean()),
        "precision": float(precision[occurs].mean()),
        "recall": float(recall[occurs].mean()),
        "f1": float(f1[occurs].mean()),
    }


def auroc(outputs: Floats, targets: Ints) -> float | None:
    """Area under the ROC curve, from scores (samples,) or probabilities (samples, classes).

    Of several classes it is the mean of each against the rest, over those that occur. None where all samples are of
    one class. The area is the chance that a sample of the class has a higher score than one of the rest, where ties
    count half: Mann and Whitney's U, from the ranks of the scores.
    """
    columns = [(outputs, targets == 1)] if outputs.ndim == 1 else [(s, targets == c) for c, s in enumerate(outputs.T)]
    areas = []
    for scores, is_of_class in columns:
        inside = np.count_nonzero(is_of_class)
        outside = len(targets) - inside
        if inside and outside:
            ordered, own = np.sort(scores), scores[is_of_class]
            ranks = (np.searchsorted(ordered, own) + np.searchsorted(ordered, own, side="right") + 1) / 2
            areas.append((ranks.sum() - inside * (inside + 1) / 2) / (inside * outside))
    return float(np.mean(areas)) if areas else None


def regression_scores(outputs: Floats, targets: Floats) -> dict[str, float]:
    """MAE, MSE and RMSE over all values, and R2 as the mean over their columns, from (samples, values).

    R2 is omitted for a single sample, which has no variance to explain. For a constant column it is 1 where the
    prediction is exact and 0 otherwise, as in scikit-learn.
    """
    outputs, targets = outputs.astype(np.float64), targets.astype(np.float64)
    squares = (outputs - targets) ** 2
    mse = float(squares.mean())
    scores = {"mae": float(np.abs(outputs - targets).mean()), "mse": mse, "rmse": mse**0.5}
    if len(targets) > 1:
        left, total = squares.sum(0), ((targets - targets.mean(0)) ** 2).sum(0)
        of_constant = np.where(left == 0, 1.0, 0.0)
        r2 = np.where(total == 0, of_constant, 1 - left / np.where(total == 0, 1, total))
        scores["r2"] = float(r2.mean())
    return scores
