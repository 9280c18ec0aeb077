"""Weights are compared bit by bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from hpo.training.compare_weights import compare_weights

NAN = torch.tensor([1.0, math.nan])


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(3, 4),
        torch.randn(4, 3).T,  # not contiguous
        NAN,
        torch.tensor(7),
        torch.tensor([True, False]),
        torch.randn(3, dtype=torch.bfloat16),
        torch.randn(2, dtype=torch.complex64),
        torch.empty(0),
        {"count": 3},
    ],
    ids=["matrix", "not contiguous", "nan", "integer", "booleans", "bfloat16", "complex", "empty", "plain"],
)
def test_equal_weights_are_equal(value: Any) -> None:
    other = value.clone() if isinstance(value, torch.Tensor) else dict(value)

    assert compare_weights({"a": value}, {"a": other}) == {"tensors": 1, "differences": []}


@pytest.mark.parametrize(
    ("one", "other", "largest"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), 0.5),
        (torch.tensor([1, 2]), torch.tensor([4, 2]), 3.0),
        (torch.tensor([True]), torch.tensor([False]), 1.0),
        (torch.tensor(0.0), torch.tensor(-0.0), 0.0),  # equal as numbers
        (NAN, torch.tensor([1.5, math.nan]), 0.5),
        (torch.tensor(math.inf), torch.tensor(1.0), None),
        (NAN, torch.tensor([1.0, 2.0]), None),
        (torch.tensor([math.inf, 1.0]), torch.tensor([math.inf, 1.25]), 0.25),
        (torch.tensor([1j]), torch.tensor([3 + 1j]), 3.0),
        (torch.zeros(2), torch.zeros(3), None),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64), None),
        (torch.zeros(2), "zeros", None),
        ({"count": 3}, {"count": 4}, None),
    ],
    ids=repr,
)
def test_a_difference_is_told_with_its_size(one: Any, other: Any, largest: float | None) -> None:
    found = compare_weights({"same": NAN, "a": one}, {"same": NAN, "a": other})

    assert found == {"tensors": 2, "differences": [{"name": "a", "largest": largest}]}


def test_a_tensor_that_only_one_of_them_has_is_a_difference() -> None:
    found = compare_weights({"a": NAN, "b": NAN}, {"b": NAN, "c": NAN})

    assert found == {"tensors": 3, "differences": [{"name": "a", "largest": None}, {"name": "c", "largest": None}]}
