"""Embeddings of numbers: each becomes a vector, of which a network learns steps and waves that it would need depth for.

Gorishniy, Rubachev and Babenko 2022, On embeddings for numerical features in tabular deep learning, arXiv 2203.05556.
The number itself stays in its vector, as in RealMLP (Holzmüller, Grinsztajn and Steinwart 2024, arXiv 2407.04491).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

NumberEmbedding = Literal["none", "periodic", "piecewise"]

WAVES = 24  # of a number


def embedded_numbers(
    name: str, features: int, *, size: int, frequency: float, bin_edges: Sequence[float], who: str
) -> tuple[nn.Module, int]:
    """The embedding of numbers (batch, features), and the length of a number's vector.

    Args:
        name: none leaves the numbers as they are; the others are described in Periodic and Piecewise.
        size: the length of a vector, at least 2.
        frequency: of periodic: the standard deviation of the initial frequencies.
        bin_edges: of piecewise: the edges of each number's bins (features * edges,), ascending, from the data module.
        who: begins the message of an error.

    Raises:
        ValueError: an unknown name, a vector that is too short, a frequency that is not positive, or no edges.
    """
    if name not in get_args(NumberEmbedding):
        raise ValueError(f"{who}: number_embedding '{name}' should be {', '.join(get_args(NumberEmbedding))}")
    if name == "none" or not features:
        return nn.Identity(), 1
    if size < 2:
        raise ValueError(
            f"{who}: number_embedding_size {size} should be at least 2: the number, and what is learnt of it"
        )
    if name == "periodic":
        if frequency <= 0:
            raise ValueError(f"{who}: frequency {frequency} should be positive")
        return Periodic(features, size, frequency), size
    if not bin_edges:
        raise ValueError(
            f"{who}: number_embedding 'piecewise' is for tables: models.data:Table gives the quantiles of each column "
            "(bin_edges), which this data module does not. Take 'periodic' or 'none'"
        )
    return Piecewise(torch.tensor(bin_edges, dtype=torch.float64).reshape(features, -1), size), size


class Periodic(nn.Module):
    """(batch, features) -> (batch, features, size): x, and a linear layer of its waves, cos(2 pi (f x + phase)).

    Frequencies f and phases are learnt; they begin normally distributed, and uniform.
    """

    def __init__(self, features: int, size: int, frequency: float) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(frequency * torch.randn(features, WAVES))
        self.phases = nn.Parameter(torch.rand(features, WAVES) - 0.5)
        self.linear = LinearOfEach(features, WAVES, size - 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(-1)
        waves = torch.cos(2 * math.pi * (self.frequencies * x + self.phases))
        return torch.cat([x, self.linear(waves)], dim=-1)


class Piecewise(nn.Module):
    """(batch, features) -> (batch, features, size): x, and a linear layer of how much of each bin lies below x.

    This is 0 for bins above x, 1 for those below it, and the fraction of the one that it is in; beyond the first and
    the last bin it goes on linearly (equation 1 of the paper). A linear layer of it is a piecewise linear function.

    Args:
        edges: of the bins (features, bins + 1), ascending; a bin between equal ones has no effect.
    """

    def __init__(self, edges: Tensor, size: int) -> None:
        super().__init__()
        widths = edges.diff(dim=1)
        has_width = widths > 0
        is_first = has_width & (has_width.cumsum(1) == 1)
        is_last = has_width & (has_width.flip(1).cumsum(1).flip(1) == 1)
        arrays = {
            "_start": edges[:, :-1],
            "_slope": torch.where(has_width, 1 / widths, 0.0),
            "_lowest": torch.where(is_first, -torch.inf, 0.0),
            "_highest": torch.where(is_last, torch.inf, 1.0),
        }
        for name, values in arrays.items():  # not in checkpoints, whose hyperparameters have the edges
            self.register_buffer(name, values.to(torch.get_default_dtype()), persistent=False)
        self._start: Tensor
        self._slope: Tensor
        self._lowest: Tensor
        self._highest: Tensor
        self.linear = LinearOfEach(len(edges), widths.shape[1], size - 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(-1)
        below = ((x - self._start) * self._slope).clamp(self._lowest, self._highest)
        return torch.cat([x, self.linear(below)], dim=-1)


class LinearOfEach(nn.Module):
    """A linear layer for each of several vectors: (batch, vectors, inputs) -> (batch, vectors, outputs)."""

    def __init__(self, vectors: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(1, inputs))
        self.weight = nn.Parameter(torch.empty(vectors, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(vectors, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return (x.transpose(0, 1) @ self.weight).transpose(0, 1) + self.bias
