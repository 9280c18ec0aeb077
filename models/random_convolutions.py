"""Random convolutions and a linear layer: the model to start from when few sequences are to be told apart."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from hpo.space import FromData, Int
from models.base import Supervised
from models.time_convolution import steps_within

Inputs = Tensor | tuple[Tensor, Tensor]

LENGTH = 9  # of a kernel, as in MiniRocket
MOST_DILATIONS = 8
SMALLEST_DEVIATION = 1e-6


class RandomConvolutions(Supervised):
    """Kernels that are drawn and never trained; what they find in a sequence goes through a linear layer.

    ROCKET of Dempster et al. 2020, arXiv 1910.13051, with the length of MiniRocket's kernels (2021, arXiv 2012.08791):
    each value of a sequence is standardised over its time; a kernel, whose weights have a mean of 0, is slid over it
    with a dilation from 1 to what fits, and gives the share of steps at which it is positive, and its largest value.
    These, and the mean and the logarithm of the deviation of each value, are standardised by batch norm. Only the
    linear layer is trained, so that a step is much cheaper than one of a network of as many channels.

    Takes sequences x (batch, time, features), or (x, lengths) with lengths (batch,) from 1 to time: values beyond a
    sequence's length have no effect. Returns (batch, outputs), or (batch, time, outputs) if the data has labels
    `per_step`: then the linear layer sees what each kernel gives at the step.

    Args:
        kernels: how many.
        dropout: of what they find.
        input_shape, per_step: from the data module.

    Raises:
        ValueError: the samples are not sequences.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kernels: Annotated[int, Int(250, 2000, log=True)] = 1000,
        dropout: float = 0.1,
        per_step: Annotated[bool, FromData()] = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        if len(input_shape) != 2:
            raise ValueError(f"RandomConvolutions: samples should be (time, features), not of the shape {input_shape}")
        time, features = input_shape
        self._dilations = dilations(time)
        for place, count in enumerate(_shares(kernels, len(self._dilations))):
            self.register_buffer(f"weights_{place}", _drawn(count, features))
            self.register_buffer(f"biases_{place}", 2 * torch.rand(count) - 1)
        found = kernels if per_step else 2 * (kernels + features)
        self.norm = nn.BatchNorm1d(found, affine=False)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(found, outputs))
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Inputs) -> Tensor:
        x, lengths = (inputs, None) if isinstance(inputs, Tensor) else inputs
        with torch.no_grad():
            found = self._found(x, lengths)
        if self.hparams["per_step"]:
            found = self.norm(found.transpose(1, 2).flatten(end_dim=1)).unflatten(0, x.shape[:2])
        else:
            found = self.norm(found)
        outputs: Tensor = self.head(found)
        return outputs

    def _found(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """What the kernels find: (batch, 2 * (kernels + features)), or per step (batch, kernels, time)."""
        is_there = x.new_ones(x.shape[0], 1, x.shape[1])
        if lengths is not None:
            is_there = steps_within(lengths, x.shape[1])[:, None].to(x.dtype)
        count = is_there.sum(2, keepdim=True)
        x = x.transpose(1, 2) * is_there
        mean = x.sum(2, keepdim=True) / count
        centred = (x - mean) * is_there
        deviation = (centred.square().sum(2, keepdim=True) / count).sqrt().clamp(min=SMALLEST_DEVIATION)
        standard = centred / deviation
        shares, largest, each = [mean[:, :, 0]], [deviation[:, :, 0].log()], []
        for place, dilation in enumerate(self._dilations):
            weights, biases = getattr(self, f"weights_{place}"), getattr(self, f"biases_{place}")
            padding = dilation * (LENGTH // 2)
            given = nn.functional.conv1d(standard, weights, biases, padding=padding, dilation=dilation)
            if self.hparams["per_step"]:
                each.append(given.relu() * is_there)
                continue
            shares.append(((given > 0).to(x.dtype) * is_there).sum(2) / count[:, 0])
            largest.append((given - (1 - is_there) * 1e4).amax(2))
        return torch.cat(each or [*shares, *largest], 1)


def dilations(time: int) -> list[int]:
    """Those of the kernels: at most eight, evenly spaced on a logarithmic scale up to what fits into `time` steps."""
    largest = math.log2(max(1.0, (time - 1) / (LENGTH - 1)))
    count = min(MOST_DILATIONS, int(largest) + 1)
    return sorted({int(2 ** (largest * place / max(1, count - 1))) for place in range(count)})


def _shares(kernels: int, groups: int) -> list[int]:
    return [kernels // groups + (place < kernels % groups) for place in range(groups)]


def _drawn(count: int, features: int) -> Tensor:
    """Kernels (count, features, LENGTH) that look at some of the features each, with a mean of 0 in each."""
    weights = torch.randn(count, features, LENGTH)
    looked_at = (2 ** (torch.rand(count) * math.log2(features + 1))).long().clamp(1, features)
    is_looked_at = torch.rand(count, features).argsort(1).argsort(1) < looked_at[:, None]
    weights = (weights - weights.mean(2, keepdim=True)) * is_looked_at[:, :, None]
    drawn: Tensor = LENGTH**0.5 * weights / weights.flatten(1).norm(dim=1)[:, None, None]
    return drawn
