"""Activations and initial weights for all models, by the names in search spaces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from hpo.space import Choice

ActivationName = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid"]
Activation = Annotated[ActivationName, Choice("relu", "gelu", "silu")]
InitializerName = Literal[
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "normal",
]
Initializer = Annotated[InitializerName, Choice("he_normal", "glorot_uniform", "orthogonal")]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
INITIALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "lecun_normal": partial(nn.init.kaiming_normal_, nonlinearity="linear"),
    "lecun_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
}


def initialize(module: nn.Module, name: str, std: float = 0.02) -> None:
    """Set initial weights of every linear and convolutional layer of the module, and biases of 0.

    Weights have mean 0 and this variance, where n is a layer's inputs and m its outputs, each times the size of the
    kernel; uniform weights are drawn from [-sqrt(3 variance), +sqrt(3 variance)].
        he        2 / n         He et al. 2015, arXiv 1502.01852
        glorot    2 / (n + m)   Glorot and Bengio 2010, AISTATS
        lecun     1 / n         LeCun et al. 1998, Efficient BackProp
        normal    std ** 2
        orthogonal: rows or columns are orthonormal, Saxe et al. 2014, arXiv 1312.6120

    Raises:
        ValueError: an unknown name.
    """
    if name != "normal" and name not in INITIALIZERS:
        raise ValueError(f"initializer: '{name}' should be one of {', '.join([*INITIALIZERS, 'normal'])}")
    draw = partial(nn.init.normal_, std=std) if name == "normal" else INITIALIZERS[name]
    for layer in module.modules():
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
            # Its weights are (inputs, outputs, ...), but torch's formulas use the second dimension as the inputs.
            drawn = draw(layer.weight.detach().transpose(0, 1).contiguous())
            layer.weight.data.copy_(drawn.transpose(0, 1))
        elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            draw(layer.weight)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    # PyTorch's convolutions, pooling and norms of images are 1.3 to 2 times as fast with channels last, also on a CPU.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
