"""Losses are the formulas of the textbooks, also where classes have weights and labels are smoothed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.losses import LOSSES_OF_TASK, balanced_weights, loss_of, resolve_loss

SAMPLES, CLASSES = 40, 3
WEIGHTS = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)


@pytest.fixture
def logits() -> Tensor:
    torch.manual_seed(0)
    return 3 * torch.randn(SAMPLES, CLASSES, dtype=torch.float64)


@pytest.fixture
def classes() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, CLASSES, (SAMPLES,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy(logits: Tensor, classes: Tensor, smoothing: float, weights: Tensor | None) -> None:
    loss = loss_of("cross_entropy", logits, classes, label_smoothing=smoothing, class_weights=weights)

    weight = torch.ones(CLASSES, dtype=torch.float64) if weights is None else weights
    wanted = torch.eye(CLASSES, dtype=torch.float64)[classes] * (1 - smoothing) + smoothing / CLASSES
    each = -(weight * wanted * (logits.exp() / logits.exp().sum(1, keepdim=True)).log()).sum(1)
    torch.testing.assert_close(loss, each.sum() / weight[classes].sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy(logits: Tensor, smoothing: float) -> None:
    outputs, targets = logits[:, 0], (logits[:, 1] > 0).long()

    loss = loss_of("binary_cross_entropy", outputs, targets, label_smoothing=smoothing)

    likely, wanted = 1 / (1 + (-outputs).exp()), targets * (1 - smoothing) + smoothing / 2
    torch.testing.assert_close(loss, -(wanted * likely.log() + (1 - wanted) * (1 - likely).log()).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS[:2]])
def test_a_binary_task_has_the_loss_of_two_classes(logits: Tensor, smoothing: float, weights: Tensor | None) -> None:
    outputs, targets = logits[:, 0], (logits[:, 1] > 0).long()
    two = torch.stack([torch.zeros(SAMPLES, dtype=torch.float64), outputs], dim=1)

    binary = loss_of("binary_cross_entropy", outputs, targets, label_smoothing=smoothing, class_weights=weights)

    expected = loss_of("cross_entropy", two, targets, label_smoothing=smoothing, class_weights=weights)
    torch.testing.assert_close(binary, expected)


def test_the_losses_of_a_regression() -> None:
    outputs, targets = torch.tensor([[0.0, 2.0], [5.0, -1.0]]), torch.tensor([[0.5, 2.0], [2.0, 1.0]])
    # the errors are 0.5, 0, 3 and 2; beyond 1, Huber's loss goes on straight
    assert loss_of("mse", outputs, targets).item() == (0.25 + 0 + 9 + 4) / 4
    assert loss_of("mae", outputs, targets).item() == (0.5 + 0 + 3 + 2) / 4
    assert loss_of("huber", outputs, targets).item() == (0.125 + 0 + 2.5 + 1.5) / 4


@pytest.mark.parametrize("name", [name for names in LOSSES_OF_TASK.values() for name in names])
def test_no_samples_have_no_loss_but_a_gradient(name: str) -> None:
    outputs = torch.ones(0, requires_grad=True) if name == "binary_cross_entropy" else torch.ones(0, 3).requires_grad_()
    targets = torch.ones(0, 3) if name in LOSSES_OF_TASK["regression"] else torch.ones(0, dtype=torch.int64)

    loss = loss_of(name, outputs, targets)
    loss.backward()  # type: ignore[no-untyped-call]

    assert loss.item() == 0
    assert outputs.grad is not None


def test_balanced_classes_weigh_the_same_together_and_1_on_average() -> None:
    counts = (10, 30, 60)

    weights = balanced_weights(counts)

    torch.testing.assert_close(weights * torch.tensor(counts), torch.full((3,), 100 / 3))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0] * 7 + [1] * 2 + [2] * 5
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights((7, 2, 5)).tolist() == pytest.approx(expected)


def test_a_class_without_training_samples_has_a_finite_weight() -> None:
    assert balanced_weights((5, 0)).isfinite().all()


def test_auto_is_the_first_loss_of_the_task() -> None:
    assert [resolve_loss("auto", task, who="Net") for task in LOSSES_OF_TASK] == [
        "binary_cross_entropy",
        "cross_entropy",
        "mse",
    ]


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("mse", "binary", "Net: loss 'mse' is not for a binary task: it should be binary_cross_entropy, or auto"),
        ("l2", "regression", "Net: loss 'l2' is not for a regression task: it should be mse or mae or huber, or auto"),
        ("auto", "ranking", "Net: task 'ranking' should be binary, multiclass, regression"),
    ],
)
def test_a_loss_that_is_not_for_the_task_is_refused(name: str, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_loss(name, task, who="Net")
