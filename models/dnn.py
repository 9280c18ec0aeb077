"""A fully connected network: the model to start from when the features have no order or neighbourhood."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from hpo.space import Choice, Float, FromData, Int
from models.base import Supervised
from models.layers import ACTIVATIONS, Activation, Initializer, initialize

Inputs = Tensor | tuple[Tensor, Tensor]


class DNN(Supervised):
    """`depth` hidden layers: linear, [batch norm], activation, [dropout]; then a linear layer to the outputs.

    Takes features (batch, ...) with `in_features` numbers a sample, or (features, categories) with class numbers
    (batch, columns), each of which gets an embedding; gives (batch, outputs). Depth 0 is the perceptron.

    Args:
        width: units of the first hidden layer.
        taper: each further hidden layer has this times the units of the one before it, at least 2.
        residual: a hidden layer's input, through a linear layer where the widths differ, is added to its output;
            He et al. 2016, arXiv 1512.03385.
        cardinalities: numbers of values of the categorical columns, from the data module.
        initializer: described in models.layers.initialize; the embeddings keep torch's.
    """

    def __init__(
        self,
        in_features: int,
        outputs: int,
        depth: Annotated[int, Int(1, 4)] = 2,
        width: Annotated[int, Int(32, 512, log=True)] = 128,
        taper: float = 1.0,
        activation: Activation = "relu",
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.0,
        batch_norm: Annotated[bool, Choice()] = False,
        residual: bool = False,
        initializer: Initializer = "he_normal",
        initializer_std: float = 0.02,
        cardinalities: Annotated[tuple[int, ...], FromData()] = (),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        self.embeddings = nn.ModuleList(nn.Embedding(count, embedding_size(count)) for count in cardinalities)
        units = in_features + sum(embedding_size(count) for count in cardinalities)
        hidden = nn.Sequential()
        for layer in range(depth):
            wide = max(2, round(width * taper**layer))
            hidden.append(
                _Hidden(units, wide, ACTIVATIONS[activation](), dropout, batch_norm=batch_norm, residual=residual)
            )
            units = wide
        self.hidden = hidden
        self.head = nn.Linear(units, outputs)
        initialize(self, initializer, initializer_std)

    def forward(self, inputs: Inputs) -> Tensor:
        if isinstance(inputs, Tensor):
            x = inputs.flatten(1)  # (batch, ...) -> (batch, in_features)
        else:
            numbers, categories = inputs
            embedded = [embed(categories[:, column]) for column, embed in enumerate(self.embeddings)]
            x = torch.cat([numbers.flatten(1), *embedded], dim=1)
        outputs: Tensor = self.head(self.hidden(x))
        return outputs


def embedding_size(cardinality: int) -> int:
    """The size of a category's embedding: half the number of categories, 2 to 32."""
    return min(32, max(2, cardinality // 2))


class _Hidden(nn.Module):
    def __init__(
        self, inputs: int, width: int, activation: nn.Module, dropout: float, *, batch_norm: bool, residual: bool
    ) -> None:
        super().__init__()
        # Without a bias before batch norm, which subtracts it with the mean.
        self.linear = nn.Linear(inputs, width, bias=not batch_norm)
        self.rest = nn.Sequential()
        if batch_norm:
            self.rest.append(nn.BatchNorm1d(width))
        self.rest.append(activation)
        if dropout > 0:
            self.rest.append(nn.Dropout(dropout))
        self.skip: nn.Module | None = None
        if residual:
            self.skip = nn.Identity() if inputs == width else nn.Linear(inputs, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rest(self.linear(x))
        return y if self.skip is None else y + self.skip(x)
