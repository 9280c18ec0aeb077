"""Scores of predictions, their intervals, and the simple models beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
    precision_recall_fscore_support,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
)

from hpo.training.evaluation.outputs import Outputs, Task
from hpo.training.evaluation.scores import compared_metric, scores_of, statistic_of, with_intervals
from hpo.training.inspection.layout import Layout

Array = NDArray[Any]


def layout(classes: tuple[str, ...] = ()) -> Layout:
    return Layout(
        kind="table",
        task="multiclass" if classes else "regression",
        main="input",
        categories=None,
        lengths=None,
        features=("a",),
        classes=classes,
        outputs=("y",),
        is_per_step=False,
        is_reconstruction=False,
        spans=(),
    )


def outputs(task: Task, truth: Array, predicted: Array, *, sample: Array | None = None, block: int = 1) -> Outputs:
    names = tuple(map(str, range(predicted.shape[1])))
    rows = np.arange(len(truth)) if sample is None else sample
    return Outputs(task, truth, predicted, rows, names, layout(names if task == "classes" else ()), block)


@pytest.fixture
def guesses() -> tuple[NDArray[np.int64], Array]:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, 300)
    probabilities = draw.dirichlet(np.ones(3), 300) + 0.7 * np.eye(3)[truth]
    return truth, probabilities / probabilities.sum(1, keepdims=True)


def test_scores_of_classes_are_those_of_scikit_learn(guesses: tuple[NDArray[np.int64], Array]) -> None:
    truth, probabilities = guesses
    found = scores_of(outputs("classes", truth, probabilities))["metrics"]
    predicted = probabilities.argmax(1)

    assert found["accuracy"]["value"] == pytest.approx((truth == predicted).mean())
    assert found["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found["precision"]["value"] == pytest.approx(precision_score(truth, predicted, average="macro"))
    assert found["recall"]["value"] == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert found["f1"]["value"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert found["log_loss"]["value"] == pytest.approx(log_loss(truth, probabilities))
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr"))


def test_each_class_has_the_scores_of_scikit_learn(guesses: tuple[NDArray[np.int64], Array]) -> None:
    truth, probabilities = guesses
    found = scores_of(outputs("classes", truth, probabilities))
    expected = precision_recall_fscore_support(truth, probabilities.argmax(1))

    for number, row in enumerate(found["classes"]):
        assert row["targets"] == expected[3][number]
        for score, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert row[score]["value"] == pytest.approx(values[number])
            assert row[score]["low"] <= row[score]["value"] <= row[score]["high"]
    assert found["confusion"] == confusion_matrix(truth, probabilities.argmax(1)).tolist()


def test_calibration_tells_how_often_predictions_of_a_confidence_are_right() -> None:
    confidence, guess = np.repeat([0.55, 0.95], 200), np.arange(400) % 2
    right = np.arange(400) // 2 % 100 < np.repeat([55, 70], 200)  # the sure ones are too sure, by 0.25
    second = np.where(guess == 1, confidence, 1 - confidence)

    found = scores_of(outputs("classes", np.where(right, guess, 1 - guess), np.column_stack([1 - second, second])))

    assert found["metrics"]["calibration_error"]["value"] == pytest.approx((0.0 + 0.25) / 2, abs=1e-5)
    curve = found["calibration"]
    assert curve["of"] == "the second class"
    assert curve["confidence"] == pytest.approx([0.05, 0.45, 0.55, 0.95])
    assert curve["accuracy"] == pytest.approx([0.30, 0.45, 0.55, 0.70])
    assert curve["counts"] == [100] * 4


def test_the_reliability_of_several_classes_is_that_of_the_predicted_one(
    guesses: tuple[NDArray[np.int64], Array],
) -> None:
    truth, probabilities = guesses

    curve = scores_of(outputs("classes", truth, probabilities))["calibration"]

    assert curve["of"] == "the predicted class"
    assert sum(curve["counts"]) == len(truth)
    right = np.dot(curve["accuracy"], curve["counts"]) / len(truth)
    assert right == pytest.approx((probabilities.argmax(1) == truth).mean())


def test_scores_of_values_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    truth = draw.normal(size=(200, 2))
    predicted = truth + draw.normal(size=(200, 2))
    found = scores_of(outputs("values", truth, predicted))

    assert found["metrics"]["mae"]["value"] == pytest.approx(mean_absolute_error(truth, predicted))
    assert found["metrics"]["r2"]["value"] == pytest.approx(r2_score(truth, predicted))
    assert found["outputs"][1]["metrics"]["r2"]["value"] == pytest.approx(r2_score(truth[:, 1], predicted[:, 1]))
    assert sum(found["residuals"]["histogram"]["counts"]) == 400


def test_intervals_hold_the_true_score_about_as_often_as_they_say() -> None:
    draw = np.random.default_rng(2)
    held = 0
    for _ in range(25):
        right = draw.random(150) < 0.8
        truth = np.zeros(150, dtype=np.int64)
        probabilities = np.column_stack([right, ~right]).astype(np.float64)
        one = outputs("classes", truth, probabilities)
        found = with_intervals(one, statistic_of(one), only="accuracy")["accuracy"]
        held += found["low"] <= 0.8 <= found["high"]

    assert 20 <= held <= 25  # 24 of 25 are expected


def test_no_mistake_among_few_samples_is_no_certainty() -> None:
    one = outputs("classes", np.zeros(20, dtype=np.int64), np.column_stack([np.ones(20), np.zeros(20)]))

    found = with_intervals(one, statistic_of(one), only="accuracy")["accuracy"]

    assert found["high"] == 1
    assert found["low"] == pytest.approx(0.8316, abs=1e-4)  # 0.025 ** (1 / 20)


def test_rows_of_one_sample_and_neighbouring_windows_widen_the_interval() -> None:
    draw = np.random.default_rng(3)
    shared = np.repeat(draw.normal(size=(40, 1)), 10, axis=0)
    truth = np.zeros((400, 1))
    alone = outputs("values", truth, shared)
    together = outputs("values", truth, shared, sample=np.repeat(np.arange(40), 10))
    blocks = outputs("values", truth, shared, block=10)
    widths = [
        (found := with_intervals(one, statistic_of(one), only="mae")["mae"])["high"] - found["low"]
        for one in (alone, together, blocks)
    ]

    assert widths[1] > 2 * widths[0]
    assert widths[1] == pytest.approx(widths[2])


def test_a_difference_is_scored_on_the_same_draws(guesses: tuple[NDArray[np.int64], Array]) -> None:
    truth, probabilities = guesses
    one = outputs("classes", truth, probabilities)

    same = with_intervals(one, statistic_of(one), only="accuracy", against=probabilities)["accuracy"]

    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("objective", "task", "expected"),
    [
        ("val_f1", "classes", "f1"),
        ("val_loss", "classes", "log_loss"),
        ("score", "classes", "accuracy"),
        ("val_r2", "values", "r2"),
        ("val_loss", "values", "rmse"),
        ("val_loss", "reconstruction", "loss"),
    ],
)
def test_models_are_compared_by_the_objective_where_it_is_one_of_the_scores(
    objective: str, task: Task, expected: str
) -> None:
    truth = np.array([0, 1] * 5) if task == "classes" else np.arange(10.0)[:, None]
    predicted = np.full((10, 2), 0.5) if task == "classes" else np.zeros((10, 1))

    assert compared_metric(objective, outputs(task, truth, predicted)) == expected
