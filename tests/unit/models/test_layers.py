"""Initial weights have the variance of the formula of their name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import nn

from models.layers import ACTIVATIONS, INITIALIZERS, ActivationName, InitializerName, initialize

# layers by name: the layer, how many numbers an output is made of, and how many outputs an input takes part in
LAYERS: dict[str, tuple[Callable[[], nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d], int, int]] = {
    "linear": (lambda: nn.Linear(512, 256), 512, 256),
    "convolution": (lambda: nn.Conv2d(64, 32, 5), 64 * 25, 32 * 25),
    "convolution of series": (lambda: nn.Conv1d(96, 128, 5), 96 * 5, 128 * 5),
    "transposed convolution": (lambda: nn.ConvTranspose2d(64, 32, 5), 64 * 25, 32 * 25),
}
VARIANCES: dict[str, Callable[[int, int], float]] = {
    "he": lambda inputs, outputs: 2 / inputs,
    "glorot": lambda inputs, outputs: 2 / (inputs + outputs),
    "lecun": lambda inputs, outputs: 1 / inputs,
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", [f"{formula}_{shape}" for formula in VARIANCES for shape in ("normal", "uniform")])
def test_initial_weights_have_the_variance_of_the_formula(name: str, layer: str) -> None:
    torch.manual_seed(0)
    make, inputs, outputs = LAYERS[layer]
    made = make()

    initialize(made, name)

    weight, variance = made.weight, VARIANCES[name.partition("_")[0]](inputs, outputs)
    assert weight.var().item() == pytest.approx(variance, rel=0.03)
    assert weight.mean().item() == pytest.approx(0, abs=3 * math.sqrt(variance / weight.numel()))
    # the bound of the uniform distributions, which normal ones exceed
    assert (weight.abs().max().item() <= math.sqrt(3 * variance)) is name.endswith("uniform")
    assert weight.requires_grad
    assert made.bias is not None
    assert not made.bias.any()


@pytest.mark.parametrize("std", [0.005, 0.3])
def test_normal_has_the_standard_deviation_that_was_searched(std: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(300, 300)
    initialize(layer, "normal", std)
    assert layer.weight.std().item() == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("layer", [nn.Linear(64, 32), nn.Conv2d(8, 16, 3), nn.ConvTranspose2d(16, 8, 3)])
def test_orthogonal_weights_are_orthonormal(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> None:
    initialize(layer, "orthogonal")
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    rows = weight.flatten(1)
    rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-5)


def test_layers_without_a_bias_and_other_layers_are_left_alone() -> None:
    norm = nn.BatchNorm1d(4)
    initialize(nn.Sequential(nn.Linear(4, 4, bias=False), norm, nn.ReLU()), "he_normal")
    assert norm.weight.tolist() == [1] * 4


def test_an_unknown_initializer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'xavier' should be one of he_normal, .*, orthogonal, normal"):
        initialize(nn.Linear(2, 2), "xavier")


def test_every_name_that_is_searched_is_known() -> None:
    assert set(get_args(ActivationName)) == set(ACTIVATIONS)
    assert set(get_args(InitializerName)) == {*INITIALIZERS, "normal"}
