"""Losses by name, for every task."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Task = Literal["binary", "multiclass", "regression"]
LossName = Literal["auto", "cross_entropy", "binary_cross_entropy", "mse", "mae", "huber"]

LOSSES_OF_TASK: dict[str, tuple[str, ...]] = {
    "binary": ("binary_cross_entropy",),
    "multiclass": ("cross_entropy",),
    "regression": ("mse", "mae", "huber"),
}


def resolve_loss(name: str, task: str, *, who: str) -> str:
    """The name of the loss for a task; `auto` is the task's first.

    Raises:
        ValueError: the task is unknown, or the loss is not for it; the message begins with `who`.
    """
    if task not in LOSSES_OF_TASK:
        raise ValueError(f"{who}: task '{task}' should be {', '.join(LOSSES_OF_TASK)}")
    allowed = LOSSES_OF_TASK[task]
    if name != "auto" and name not in allowed:
        raise ValueError(f"{who}: loss '{name}' is not for a {task} task: it should be {' or '.join(allowed)}, or auto")
    return allowed[0] if name == "auto" else name


def loss_of(
    name: str,
    outputs: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The mean loss over samples, weighted by their classes where there are weights; 0 where there are no samples.

    Args:
        outputs: logits (samples, classes), of a binary task (samples,), or values (samples, values).
        targets: class numbers (samples,), or values (samples, values); for mixed samples, floating-point probabilities
            of the classes (samples, classes), of a binary task (samples,).
        label_smoothing: of the probability, shared by all classes; Szegedy et al. 2016, arXiv 1512.00567.
        class_weights: (classes,), also of the two classes of a binary task.
    """
    if not len(targets):
        return outputs.sum()  # still has a gradient, which other ranks wait for
    match name:
        case "cross_entropy":
            return functional.cross_entropy(outputs, targets, class_weights, label_smoothing=label_smoothing)
        case "binary_cross_entropy" if class_weights is None:
            smoothed = targets.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(outputs, smoothed)
        case "binary_cross_entropy":
            # Computed as two classes, the first with the logit 0, so that weights act as with more classes.
            logits = torch.stack([torch.zeros_like(outputs), outputs], dim=1)
            if targets.is_floating_point():
                targets = torch.stack([1 - targets, targets], dim=1).to(outputs.dtype)
            return functional.cross_entropy(logits, targets, class_weights, label_smoothing=label_smoothing)
        case "mse":
            return functional.mse_loss(outputs, targets)
        case "mae":
            return functional.l1_loss(outputs, targets)
        case "huber":
            return functional.huber_loss(outputs, targets)
    raise ValueError(f"loss: '{name}' is not known")


def balanced_weights(class_counts: tuple[int, ...]) -> Tensor:
    """Weights (classes,) inversely proportional to the class frequencies, 1 on average over the samples."""
    counts = torch.tensor(class_counts, dtype=torch.float32).clamp(min=1)
    return counts.sum() / (len(counts) * counts)
