"""A fully connected network: the model to start from when the features have no order or neighbourhood."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from torch import Tensor, nn

from hpo.space import Choice, Float, Int
from models.base import Classifier

Activation = Annotated[Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"], Choice()]
Initializer = Annotated[
    Literal["he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "orthogonal"],
    Choice(),
]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
INITIALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "lecun_normal": partial(nn.init.kaiming_normal_, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
}


class DNN(Classifier):
    """`depth` hidden layers of `width` units each: linear, [batch norm], activation, [dropout]; then logits.

    Takes features (batch, ...) with `in_features` numbers a sample, gives logits (batch, classes). Depth 0 is
    the perceptron: one linear layer.

    Initial weights have mean 0 and this variance, where n is a layer's inputs and m its outputs; the uniform
    ones are drawn from [-sqrt(3 variance), +sqrt(3 variance)]. Biases start at 0.
        he        2 / n         He et al. 2015, arXiv 1502.01852
        glorot    2 / (n + m)   Glorot and Bengio 2010, AISTATS
        lecun     1 / n         LeCun et al. 1998, Efficient BackProp
        orthogonal: rows or columns are orthonormal, Saxe et al. 2014, arXiv 1312.6120
    """

    def __init__(
        self,
        in_features: int,
        classes: int,
        depth: Annotated[int, Int(1, 6)] = 2,
        width: Annotated[int, Int(16, 512, log=True)] = 128,
        activation: Activation = "relu",
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.0,
        batch_norm: Annotated[bool, Choice()] = False,
        initializer: Initializer = "he_normal",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        layers: list[nn.Module] = []
        fan_in = in_features
        for _ in range(depth):
            # Batch norm subtracts the mean, and with it any bias.
            layers.append(_linear(fan_in, width, initializer, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            fan_in = width
        layers.append(_linear(fan_in, classes, initializer))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x.flatten(1))  # (batch, ...) -> (batch, in_features) -> (batch, classes)
        return logits


def _linear(inputs: int, outputs: int, initializer: str, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    INITIALIZERS[initializer](layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
