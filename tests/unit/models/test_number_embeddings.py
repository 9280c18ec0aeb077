"""Embeddings of numbers give what their formulas say, in a DNN as in a TabM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.dnn import DNN
from models.number_embeddings import Periodic, Piecewise, embedded_numbers
from models.tabm import TabM

MODELS = (DNN, TabM)
EDGES = torch.tensor([[0.0, 1.0, 3.0, 4.0], [-1.0, -1.0, 1.0, 1.0]], dtype=torch.float64)


def piecewise(size: int = 5) -> Piecewise:
    torch.manual_seed(0)
    return Piecewise(EDGES, size)


def paths(x: list[float], feature: int = 0) -> Tensor:
    """What is learnt of these values of a feature (values, size - 1)."""
    with torch.no_grad():
        vectors: Tensor = piecewise()(torch.tensor(x).unsqueeze(1).expand(-1, 2))
    return vectors[:, feature, 1:]


def test_a_number_stays_in_its_vector_and_none_leaves_it_alone() -> None:
    x = torch.randn(7, 2)
    for layer in (Periodic(2, 5, 0.3), piecewise()):
        assert layer(x).shape == (7, 2, 5)
        assert torch.equal(layer(x)[:, :, 0], x)
    none, size = embedded_numbers("none", 2, size=5, frequency=0.3, bin_edges=(), who="")
    assert torch.equal(none(x), x)
    assert size == 1


def test_periodic_is_a_linear_layer_of_each_numbers_waves() -> None:
    torch.manual_seed(0)
    layer, x = Periodic(2, 4, 0.3), torch.randn(6, 2)
    found = layer(x)[:, :, 1:]
    for feature in range(2):
        waves = torch.cos(2 * math.pi * (x[:, [feature]] * layer.frequencies[feature] + layer.phases[feature]))
        expected = waves @ layer.linear.weight[feature] + layer.linear.bias[feature]
        torch.testing.assert_close(found[:, feature], expected)


def test_the_frequency_is_the_deviation_of_the_initial_ones() -> None:
    torch.manual_seed(0)
    assert Periodic(200, 2, 3.0).frequencies.std().item() == pytest.approx(3.0, rel=0.05)


def test_piecewise_is_linear_within_a_bin_and_beyond_the_last_ones() -> None:
    for left, right in ((0.0, 1.0), (1.0, 3.0), (3.0, 4.0), (-9.0, 1.0), (3.0, 50.0)):
        ends = paths([left, right, 0.75 * left + 0.25 * right])
        torch.testing.assert_close(ends[2], 0.75 * ends[0] + 0.25 * ends[1])
    bent = paths([0.0, 4.0, 2.0])
    assert not torch.allclose(bent[2], bent[:2].mean(0))


def test_a_bin_adds_its_weights_by_the_fraction_below_the_number() -> None:
    layer = piecewise()
    expected = layer.linear.bias[0] + layer.linear.weight[0, 0] + 0.5 * layer.linear.weight[0, 1]
    torch.testing.assert_close(paths([2.0])[0], expected)


def test_equal_edges_make_no_bin() -> None:
    layer = piecewise()
    expected = layer.linear.bias[1] + 0.25 * layer.linear.weight[1, 1]
    torch.testing.assert_close(paths([-0.5], feature=1)[0], expected)
    constant, _ = embedded_numbers("piecewise", 1, size=3, frequency=1.0, bin_edges=(2.0, 2.0, 2.0), who="")
    assert constant(torch.tensor([[5.0]])).isfinite().all()


@pytest.mark.parametrize("model_class", MODELS)
def test_edges_stay_in_the_hyperparameters_only_where_they_are_used(model_class: Any) -> None:
    model = model_class(2, 3, number_embedding="piecewise", bin_edges=EDGES.flatten().tolist())
    assert list(model.hparams["bin_edges"]) == EDGES.flatten().tolist()
    assert not [name for name in model.state_dict() if "_start" in name or "_slope" in name]
    again = model_class(**model.hparams)
    again.load_state_dict(model.state_dict())
    x = torch.randn(4, 2)
    assert torch.equal(again.eval()(x), model.eval()(x))


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"number_embedding": "piecewise"},
            r"number_embedding 'piecewise' is for tables: .* Take 'periodic' or 'none'",
        ),
        ({"number_embedding": "waves"}, "number_embedding 'waves' should be none, periodic, piecewise"),
        ({"number_embedding": "periodic", "number_embedding_size": 1}, "number_embedding_size 1 should be at least 2"),
        ({"number_embedding": "periodic", "frequency": 0.0}, r"frequency 0.0 should be positive"),
    ],
)
def test_what_cannot_be_embedded_is_refused_in_words(model_class: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{model_class.__name__}: {message}"):
        model_class(2, 3, **arguments)


@pytest.mark.parametrize("model_class", MODELS)
def test_a_table_of_categories_alone_has_no_numbers_to_embed(model_class: Any) -> None:
    model = model_class(0, 3, number_embedding="piecewise", cardinalities=(4,))
    assert model((torch.zeros(5, 0), torch.zeros(5, 1, dtype=torch.int64))).shape == (5, 3)


def test_steps_of_a_number_are_learnt_by_a_linear_model_of_its_bins() -> None:
    """A target that jumps at a quantile, which no line follows."""
    x = torch.linspace(-1, 1, 200).unsqueeze(1)
    y = ((x > -0.5) & (x < 0.2)).double().numpy().ravel()
    edges = tuple(np.quantile(x.numpy(), np.linspace(0, 1, 41)).tolist())
    layer, _ = embedded_numbers("piecewise", 1, size=42, frequency=1.0, bin_edges=edges, who="")
    for inputs, explained in ((layer(x).detach().flatten(1), 0.9), (x, 0.2)):
        design = np.column_stack([inputs.double().numpy(), np.ones(len(x))])
        rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        assert (1 - rest.var() / y.var() > explained) == (explained > 0.5)
