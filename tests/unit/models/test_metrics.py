"""Scores equal those of torchmetrics, and of scikit-learn where classes do not occur."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics import functional

from models.metrics import Predictions, auroc, classification_scores, confusion_matrix, regression_scores

Arrays = tuple[NDArray[Any], NDArray[Any]]


def predicted_classes(classes: int, samples: int = 359, seed: int = 0) -> Arrays:
    """Logits that are often right, on a coarse grid so that some are the same, and the true classes."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, samples)
    logits = generator.normal(size=(samples, classes)) + 1.5 * np.eye(classes)[targets]
    return logits.round(1).astype(np.float32), targets


def predicted_binary(samples: int = 359) -> Arrays:
    logits, targets = predicted_classes(2, samples)
    return (logits[:, 1] - logits[:, 0]).round(1), targets


def likely(logits: NDArray[Any]) -> NDArray[Any]:
    return torch.from_numpy(logits).softmax(1).numpy()


def scores_of(logits: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    return classification_scores(confusion_matrix(logits, targets))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scores_of_classes_equal_torchmetrics(classes: int) -> None:
    outputs, targets = predicted_classes(classes)
    logits, true = torch.from_numpy(outputs), torch.from_numpy(targets)
    tm: Any = functional
    macro = {"num_classes": classes, "average": "macro"}

    scores = scores_of(outputs, targets) | {"auroc": auroc(likely(outputs), targets)}

    expected = {
        "accuracy": tm.accuracy(logits, true, task="multiclass", num_classes=classes),
        "balanced_accuracy": tm.accuracy(logits, true, task="multiclass", **macro),
        "precision": tm.precision(logits, true, task="multiclass", **macro),
        "recall": tm.recall(logits, true, task="multiclass", **macro),
        "f1": tm.f1_score(logits, true, task="multiclass", **macro),
        "auroc": tm.auroc(logits.softmax(1), true, task="multiclass", **macro),
    }
    assert scores == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-6)


def test_the_confusion_matrix_equals_torchmetrics() -> None:
    tm: Any = functional
    outputs, targets = predicted_classes(5)
    expected = tm.confusion_matrix(torch.from_numpy(outputs), torch.from_numpy(targets), "multiclass", num_classes=5)
    np.testing.assert_array_equal(confusion_matrix(outputs, targets), expected.numpy())
    binary, truth = predicted_binary()
    expected = tm.confusion_matrix(torch.from_numpy(binary).sigmoid(), torch.from_numpy(truth), "binary")
    np.testing.assert_array_equal(confusion_matrix(binary, truth), expected.numpy())


def test_a_binary_auroc_equals_torchmetrics() -> None:
    tm: Any = functional
    outputs, targets = predicted_binary()
    expected = tm.auroc(torch.from_numpy(outputs), torch.from_numpy(targets), task="binary")
    assert auroc(outputs, targets) == pytest.approx(expected.item(), rel=1e-6)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_scores_equal_scikit_learn_also_for_classes_that_do_not_occur(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 6))
    samples = data.draw(st.integers(1, 12))
    a_class = st.integers(0, classes - 1)
    targets = np.array(data.draw(st.lists(a_class, min_size=samples, max_size=samples)))
    predicted = np.array(data.draw(st.lists(a_class, min_size=samples, max_size=samples)))

    scores = scores_of(np.eye(classes)[predicted], targets)

    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of predicted classes that are not in the truth
        expected = {
            "accuracy": reference.accuracy_score(targets, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(targets, predicted),
            "precision": reference.precision_score(targets, predicted, **macro),
            "recall": reference.recall_score(targets, predicted, **macro),
            "f1": reference.f1_score(targets, predicted, **macro),
        }
    assert scores == pytest.approx(expected)


@given(seed=st.integers(0, 1000), samples=st.integers(2, 30))
@settings(max_examples=25, deadline=None)
def test_the_auroc_is_the_mean_of_scikit_learns_over_the_classes_that_occur(seed: int, samples: int) -> None:
    outputs, targets = predicted_classes(5, samples, seed)
    chances = likely(outputs)

    area = auroc(chances, targets)

    occurring = [c for c in range(5) if 0 < np.count_nonzero(targets == c) < samples]
    areas = [reference.roc_auc_score(targets == c, chances[:, c]) for c in occurring]
    assert area == (pytest.approx(np.mean(areas)) if areas else None)


def test_one_class_alone_has_no_auroc() -> None:
    assert auroc(np.array([0.1, 0.9]), np.array([1, 1])) is None
    assert auroc(np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([1, 1])) is None


def test_equal_scores_say_nothing() -> None:
    assert auroc(np.zeros(4), np.array([0, 1, 1, 0])) == 0.5


@pytest.mark.parametrize("values", [1, 3])
def test_scores_of_a_regression_equal_torchmetrics(values: int) -> None:
    torch.manual_seed(0)
    targets = torch.randn(353, values) * torch.tensor([70.0, 1.0, 5.0])[:values] + 150
    outputs = targets + torch.randn(353, values)
    tm: Any = functional

    scores = regression_scores(outputs.numpy(), targets.numpy())

    exact, wanted = outputs.double(), targets.double()
    assert scores == pytest.approx(
        {
            "mae": tm.mean_absolute_error(exact, wanted).item(),
            "mse": tm.mean_squared_error(exact, wanted).item(),
            "rmse": tm.mean_squared_error(exact, wanted, squared=False).item(),
            "r2": tm.r2_score(exact, wanted).item(),
        },
        rel=1e-6,
    )


def test_r2_does_not_suffer_from_a_large_mean() -> None:
    generator = np.random.default_rng(0)
    targets = generator.normal(size=(50, 1))
    outputs = targets + 0.1 * generator.normal(size=(50, 1))

    moved = regression_scores(outputs + 1e6, targets + 1e6)["r2"]

    assert moved == pytest.approx(reference.r2_score(targets, outputs), rel=1e-6)


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_r2_of_a_constant_is_that_of_scikit_learn(error: float) -> None:
    targets = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    outputs = targets + error
    assert regression_scores(outputs, targets)["r2"] == pytest.approx(reference.r2_score(targets, outputs))


def test_a_single_sample_has_no_r2() -> None:
    assert regression_scores(np.ones((1, 2)), np.zeros((1, 2))) == {"mae": 1.0, "mse": 1.0, "rmse": 1.0}


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_diverged_regression_has_no_finite_score(wrong: float) -> None:
    scores = regression_scores(np.array([[wrong], [1.0]]), np.array([[0.0], [1.0]]))
    assert not any(np.isfinite(value) for value in scores.values())


def test_targets_that_are_no_numbers_have_no_r2() -> None:
    with np.errstate(invalid="ignore"):
        assert np.isnan(regression_scores(np.ones((3, 1)), np.array([[0.0], [1.0], [np.nan]]))["r2"])


def test_a_diverged_classifier_still_has_scores() -> None:
    outputs = np.full((4, 3), np.nan)
    assert all(np.isfinite(value) for value in scores_of(outputs, np.array([0, 1, 2, 0])).values())
    assert auroc(outputs, np.array([0, 1, 2, 0])) == 0.5


def test_predictions_without_targets_are_none() -> None:
    predictions = Predictions()
    assert predictions.gather() is None
    predictions.add(torch.ones(0, 3), torch.ones(0, dtype=torch.int64))
    assert predictions.gather() is None
