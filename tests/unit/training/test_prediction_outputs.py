"""What models return, as columns of a table of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpo.errors import HpoError
from hpo.training.prediction.outputs import Collected, Meaning
from hpo.training.prediction.outputs import columns_of as named_columns

ABC = Meaning(("a", "b", "c"))


def columns_of(meaning: Meaning, *batches: Any, proba: bool = False, **shape: Any) -> dict[str, list[Any]]:
    collected = Collected(meaning, **shape)
    for batch in batches:
        collected.add(batch)
    found = named_columns(collected.whole(), meaning, proba=proba)
    return {name: column.tolist() for name, column in found.items()}


def test_the_most_likely_class_is_named() -> None:
    first, second = torch.tensor([[0.25, 0.5, 0.25]]), torch.tensor([[0.5, 0.25, 0.25]])

    found = columns_of(ABC, first, second, proba=True)

    assert found == {"prediction": ["b", "a"], "p_a": [0.25, 0.5], "p_b": [0.5, 0.25], "p_c": [0.25, 0.25]}


@pytest.mark.parametrize("outputs", [torch.tensor([0.75, 0.25]), torch.tensor([[0.75], [0.25]])])
def test_one_output_for_two_classes_is_the_probability_of_the_second(outputs: Tensor) -> None:
    found = columns_of(Meaning(("no", "yes")), outputs, proba=True)

    assert found == {"prediction": ["yes", "no"], "p_no": [0.25, 0.75], "p_yes": [0.75, 0.25]}


def test_outputs_of_forward_are_logits() -> None:
    several = columns_of(Meaning(("a", "b", "c"), is_raw=True), torch.tensor([[1.0, 3.0, 2.0]]), proba=True)
    one = columns_of(Meaning(("no", "yes"), is_raw=True), torch.tensor([[0.0], [2.0]]), proba=True)

    assert several["prediction"] == ["b"]
    np.testing.assert_allclose([several[f"p_{name}"][0] for name in "abc"], torch.tensor([1.0, 3, 2]).softmax(0))
    assert one["prediction"] == ["no", "yes"]
    np.testing.assert_allclose(one["p_yes"], [0.5, 0.880797], rtol=1e-6)


def test_class_numbers_are_named() -> None:
    assert columns_of(ABC, torch.tensor([2, 0]))["prediction"] == ["c", "a"]


def test_values_of_several_targets_have_a_column_each() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    assert columns_of(Meaning(target_names=("rent", "size")), values) == {
        "prediction_rent": [1, 3],
        "prediction_size": [2, 4],
    }
    assert columns_of(Meaning(), values) == {"prediction_0": [1, 3], "prediction_1": [2, 4]}
    assert columns_of(Meaning(target_names=("rent",)), values[:, :1]) == {"prediction": [1, 3]}


def test_a_forecast_is_a_row_for_each_step_with_its_reference_added() -> None:
    outputs, reference = torch.tensor([[1.0, 10.0, 2.0, 20.0]]), np.array([[100.0, 200.0, 100.0, 200.0]])

    found = columns_of(Meaning(target_names=("u", "v")), outputs, steps=np.array([2]), reference=reference)

    assert found == {"prediction_u": [101, 102], "prediction_v": [210, 220]}


def test_steps_beyond_a_length_are_no_rows() -> None:
    likely = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.5, 0.5]]])
    one = torch.tensor([[0.1, 0.8], [0.7, 0.5]])

    for outputs in (likely, one):
        found = columns_of(Meaning(("no", "yes")), outputs[:1], outputs[1:], steps=np.array([2, 1]))
        assert found == {"prediction": ["no", "yes", "yes"]}


def test_a_mapping_is_a_column_for_each_name_and_number() -> None:
    found = columns_of(Meaning(("a", "b")), {"error": torch.tensor([0.5]), "code": torch.tensor([[1.0, 2.0]])})

    assert found == {"error": [0.5], "code_0": [1], "code_1": [2]}


@pytest.mark.parametrize(
    ("meaning", "outputs", "proba", "message"),
    [
        (Meaning(), torch.zeros(2, 1), True, "probabilities are of classes, and this model predicts values"),
        (Meaning(("a", "b")), {"code": torch.zeros(2, 1)}, True, "this model predicts code"),
        (ABC, torch.zeros(2, 2), False, "the model has 2 outputs, and the data module 3 class names"),
        (Meaning(), torch.zeros(1, 20_000), False, "20,000 outputs for a row, which are no table"),
        (Meaning(), [1.0], False, "predict_step returned list"),
        (Meaning(), torch.tensor(1.0), False, "predict_step returned Tensor"),
    ],
)
def test_outputs_without_a_meaning_are_told(meaning: Meaning, outputs: Any, proba: bool, message: str) -> None:
    with pytest.raises(HpoError, match=message):
        columns_of(meaning, outputs, proba=proba)
