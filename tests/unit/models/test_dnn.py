"""The fully connected network: each knob has its documented effect."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.dnn import DNN, embedding_size


def dnn(**arguments: Any) -> DNN:
    torch.manual_seed(0)
    return DNN(**{"in_features": 12, "outputs": 3, **arguments})


def linear_layers(model: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in model.modules() if isinstance(layer, nn.Linear)]


def test_depth_0_is_the_perceptron() -> None:
    model = dnn(depth=0, batch_norm=True, dropout=0.5, residual=True)
    assert linear_layers(model) == [(12, 3)]
    x = torch.randn(5, 3, 4)
    torch.testing.assert_close(model(x), x.flatten(1) @ model.head.weight.T + model.head.bias)


def test_a_hidden_layer_is_linear_then_norm_then_activation_then_dropout() -> None:
    layers = [
        type(layer)
        for layer in dnn(depth=1, batch_norm=True, dropout=0.5, activation="gelu").hidden.modules()
        if not list(layer.children())
    ]
    assert layers == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout]


def hidden(model: DNN) -> list[Any]:
    return list(model.hidden)


def test_a_layer_before_batch_norm_has_no_bias() -> None:
    assert [layer.linear.bias is None for layer in hidden(dnn(depth=2, batch_norm=True))] == [True, True]
    assert [layer.linear.bias is None for layer in hidden(dnn(depth=2))] == [False, False]


@pytest.mark.parametrize(
    ("depth", "width", "taper", "widths"),
    [
        (3, 64, 1.0, [64, 64, 64]),
        (3, 64, 0.5, [64, 32, 16]),
        (4, 8, 0.25, [8, 2, 2, 2]),
        (1, 64, 0.25, [64]),
    ],
)
def test_depth_width_and_taper_give_the_widths(depth: int, width: int, taper: float, widths: list[int]) -> None:
    model = dnn(depth=depth, width=width, taper=taper)
    assert linear_layers(model) == list(zip([12, *widths], [*widths, 3], strict=True))


def test_a_residual_layer_adds_its_input_through_a_linear_layer_where_widths_differ() -> None:
    model = dnn(depth=2, width=16, residual=True)
    first, second = hidden(model)
    assert isinstance(first.skip, nn.Linear)
    assert isinstance(second.skip, nn.Identity)
    x = torch.randn(5, 12)
    torch.testing.assert_close(first(x), first.linear(x).relu() + first.skip(x))
    y = torch.randn(5, 16)
    torch.testing.assert_close(second(y), second.linear(y).relu() + y)


def test_categories_get_embeddings_beside_the_numbers() -> None:
    model = dnn(depth=1, width=8, cardinalities=(3, 100))
    embeddings: Any = list(model.embeddings)
    assert [tuple(embedding.weight.shape) for embedding in embeddings] == [(3, 2), (100, 32)]
    numbers, categories = torch.randn(5, 12), torch.tensor([[0, 99], [1, 0], [2, 50], [0, 0], [1, 1]])
    together = torch.cat([numbers, *(e(categories[:, i]) for i, e in enumerate(embeddings))], dim=1)
    torch.testing.assert_close(model((numbers, categories)), model.head(model.hidden(together)))


def test_a_table_may_have_categories_only() -> None:
    model = dnn(in_features=0, cardinalities=[4, 5])
    assert model((torch.zeros(6, 0), torch.zeros(6, 2, dtype=torch.int64))).shape == (6, 3)


@pytest.mark.parametrize(("cardinality", "size"), [(1, 2), (2, 2), (7, 3), (64, 32), (10_000, 32)])
def test_an_embedding_has_half_as_many_numbers_as_there_are_categories(cardinality: int, size: int) -> None:
    assert embedding_size(cardinality) == size


def test_the_initializer_is_that_of_every_linear_layer() -> None:
    model = dnn(in_features=400, depth=2, width=300, initializer="normal", initializer_std=0.01)
    for layer in hidden(model):
        assert layer.linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
