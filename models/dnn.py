"""A fully connected network: the model to start from when the features have no order or neighbourhood."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from hpo.space import Choice, Float, FromData, Int, When
from models.base import Supervised
from models.layers import ACTIVATIONS, Activation, Initializer, initialize
from models.number_embeddings import NumberEmbedding, embedded_numbers

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
        number_embedding, number_embedding_size, frequency: described in models.number_embeddings.
        bin_edges: of piecewise, from the data module.
    """

    # Found on nine tables by benchmarks/portfolio.py: of 28 points, the four that are best together. Over
    # tables that were left out, the best of them and the defaults is 0.13 behind the best of all, in units of how far
    # the median is; the best of the defaults and four random points 0.33, the defaults 1.02.
    portfolio: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "depth": 4, "width": 415, "activation": "relu", "batch_norm": False, "dropout": 0.12, "lr": 2.2e-4,
            "initializer": "glorot_uniform", "optimizer": "nadam", "weight_decay": 8.8e-6, "batch_size": 29,
        },
        {
            "depth": 3, "width": 382, "activation": "relu", "batch_norm": False, "dropout": 0.034, "lr": 5e-3,
            "initializer": "glorot_uniform", "optimizer": "nadam", "weight_decay": 5.1e-6, "batch_size": 18,
        },
        {
            "depth": 4, "width": 477, "activation": "gelu", "batch_norm": False, "dropout": 0.097, "lr": 2e-2,
            "initializer": "glorot_uniform", "optimizer": "nadam", "weight_decay": 4.9e-4, "batch_size": 123,
            "scaling": "quantile",
        },
        {
            "depth": 2, "width": 33, "activation": "relu", "batch_norm": True, "dropout": 0.0022, "lr": 2.9e-3,
            "initializer": "he_normal", "optimizer": "nadam", "weight_decay": 1.3e-5, "batch_size": 32,
            "scaling": "quantile",
        },
    )  # fmt: skip

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
        number_embedding: NumberEmbedding = "none",
        number_embedding_size: int = 8,
        frequency: float = 0.3,
        cardinalities: Annotated[tuple[int, ...], FromData()] = (),
        bin_edges: Annotated[tuple[float, ...], FromData(), When(number_embedding="piecewise")] = (),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        self.numbers, size = embedded_numbers(
            number_embedding,
            in_features,
            size=number_embedding_size,
            frequency=frequency,
            bin_edges=bin_edges,
            who="DNN",
        )
        self.embeddings = nn.ModuleList(nn.Embedding(count, embedding_size(count)) for count in cardinalities)
        units = in_features * size + sum(embedding_size(count) for count in cardinalities)
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
        outputs: Tensor = self.head(self.hidden(joined(inputs, self.numbers, self.embeddings)))
        return outputs


def joined(inputs: Inputs, numbers: nn.Module, categories: nn.ModuleList) -> Tensor:
    """Features, or features and class numbers, as one vector of their embeddings (batch, units)."""
    if isinstance(inputs, Tensor):
        vector: Tensor = numbers(inputs.flatten(1)).flatten(1)  # (batch, ...) -> (batch, in_features) -> (batch, units)
        return vector
    features, chosen = inputs
    embedded = [embed(chosen[:, column]) for column, embed in enumerate(categories)]
    return torch.cat([numbers(features.flatten(1)).flatten(1), *embedded], dim=1)


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
