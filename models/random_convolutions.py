"""Random convolutions and a linear layer: the model to start from when few sequences are to be told apart."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from hpo.space import FromData
from models.base import Supervised
from models.ridge import solve_ridge
from models.time_convolution import steps_within

Inputs = Tensor | tuple[Tensor, Tensor]

LENGTH = 9  # of a kernel, as in MiniRocket
MOST_DILATIONS = 16
SMALLEST_DEVIATION = 1e-6
MOST_SOLVED = 1024  # samples of the ridge regression
SAMPLES_AT_A_TIME = 64
FACTORS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


class RandomConvolutions(Supervised):
    """Kernels that are drawn and never trained; what they find in a sequence goes through a linear layer.

    ROCKET of Dempster et al. 2020, arXiv 1910.13051, with the length of MiniRocket's kernels (2021, arXiv 2012.08791):
    each value of a sequence is standardised over its time; a kernel, whose weights have a mean of 0, is slid over it
    with a dilation from 1 to what fits, and gives the share of steps at which it is positive, and its largest value:
    half of the kernels at all steps, where beyond the ends are zeros, and half where they reach beyond neither end.
    These, and the mean and the logarithm of the deviation of each value, are standardised. Only the linear layer is
    trained, so that a step is much cheaper than one of a network of as many channels; and it begins as the ridge
    regression that ROCKET ends with, of at most 1,024 samples.

    Takes sequences x (batch, time, features), or (x, lengths) with lengths (batch,) from 1 to time: values beyond a
    sequence's length have no effect. Returns (batch, outputs), or (batch, time, outputs) if the data has labels
    `per_step`: then the linear layer sees what each kernel gives at the step, and begins with weights of 0.

    Args:
        kernels: how many.
        dropout: of what they find.
        input_shape, per_step: from the data module.

    Raises:
        ValueError: the samples are not sequences.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kernels: int = 2000,
        dropout: float = 0.1,
        per_step: Annotated[bool, FromData()] = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.save_hyperparameters()
        if len(input_shape) != 2:
            raise ValueError(f"RandomConvolutions: samples should be (time, features), not of the shape {input_shape}")
        time, features = input_shape
        shares = kernels_by_dilation(kernels, time)
        self._dilations = list(shares)
        for place, count in enumerate(shares.values()):
            self.register_buffer(f"weights_{place}", _drawn(count, features))
            self.register_buffer(f"biases_{place}", 2 * torch.rand(count) - 1)
        found = kernels if per_step else 2 * (kernels + features)
        self.register_buffer("mean", torch.zeros(found))
        self.register_buffer("variance", torch.ones(found))
        self._scale = 1.0 if per_step else found**-0.5  # so that learning rates move the outputs of ridge a little
        self.drop, self.linear = nn.Dropout(dropout), nn.Linear(found, outputs)
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)
        self._is_known = False  # the mean and the variance of what kernels find

    def setup(self, stage: str) -> None:
        part = getattr(self.trainer.datamodule, "prepared_part", None)  # type: ignore[attr-defined]
        if stage == "fit" and part and not self.hparams["per_step"]:
            if not self.linear.weight.any():  # and not loaded, to be trained further
                self.begin_with_ridge(*part("train")[:2])
            self._is_known = True

    @torch.no_grad()
    def begin_with_ridge(self, inputs: Inputs, targets: Tensor) -> None:
        """Give the linear layer the weights of ridge regression on these samples; of more than 1,024, on as many.

        What classes are told apart by is multiplied so that the loss of samples that were left out is least.
        """
        chosen = torch.arange(0, len(targets), -(-len(targets) // MOST_SOLVED))
        chosen = chosen[self._numbers(targets[chosen]).isfinite().all(1)]  # targets that were measured
        if len(chosen) < 2:
            return
        targets = targets[chosen]
        batches = torch.split(chosen, SAMPLES_AT_A_TIME)
        found = torch.cat([self._found(*_taken(inputs, rows)) for rows in batches])
        self.mean.copy_(found.mean(0))
        self.variance.copy_(found.var(0, correction=0))
        self._is_known = True
        ridge = solve_ridge(self._standardised(found), self._numbers(targets))
        factor = 1.0
        if self.hparams["task"] != "regression":
            losses = [self._loss_of(*self._flat(factor * ridge.left_out, targets)) for factor in FACTORS]
            factor = FACTORS[int(torch.stack(losses).argmin())]
        self.linear.weight.copy_(factor * ridge.weights.T / self._scale)
        self.linear.bias.copy_(factor * ridge.bias)

    def _numbers(self, targets: Tensor) -> Tensor:
        """Targets (samples, outputs) of a regression: of each class, 1 for its samples and -1 for the others."""
        if self.hparams["task"] == "regression":
            return targets.flatten(1)
        if self.hparams["task"] == "binary":
            return 2.0 * targets.reshape(-1, 1) - 1.0
        if not targets.is_floating_point():
            targets = nn.functional.one_hot(targets, self.linear.out_features)
        return 2.0 * targets - 1.0

    def forward(self, inputs: Inputs) -> Tensor:
        x, lengths = (inputs, None) if isinstance(inputs, Tensor) else inputs
        with torch.no_grad():
            found = self._found(x, lengths)
        if self.hparams["per_step"]:
            found = self._standardised(found.transpose(1, 2).flatten(end_dim=1)).view(*x.shape[:2], -1)
        else:
            found = self._standardised(found)
        outputs: Tensor = self.linear(self.drop(found * self._scale))
        return outputs

    def _standardised(self, found: Tensor) -> Tensor:
        """By the samples of the ridge regression; without them by those of each batch in training."""
        by_batch = self.training and not self._is_known
        return nn.functional.batch_norm(found, self.mean, self.variance, training=by_batch)

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
            reach = dilation * (LENGTH // 2)
            given = nn.functional.conv1d(standard, weights, biases, padding=reach, dilation=dilation)
            if self.hparams["per_step"]:
                each.append(given.relu() * is_there)
                continue
            half = -(-len(weights) // 2)
            for values, steps in ((given[:, :half], is_there), (given[:, half:], _within(is_there, reach))):
                signs = values.sign() @ steps.transpose(1, 2)  # several times faster than counting comparisons
                shares.append((1 + signs[:, :, 0] / steps.sum(2)) / 2)
                largest.append((values + (steps - 1) * 1e4).amax(2))
        return torch.cat(each or [*shares, *largest], 1)


def _taken(inputs: Inputs, rows: Tensor) -> tuple[Tensor, Tensor | None]:
    return (inputs[rows], None) if isinstance(inputs, Tensor) else (inputs[0][rows], inputs[1][rows])


def _within(is_there: Tensor, reach: int) -> Tensor:
    """The steps (batch, 1, time) of a sequence that are `reach` from both of its ends; of a shorter one, all."""
    ended = nn.functional.pad(is_there, (0, reach))[:, :, reach:]
    begun = nn.functional.pad(is_there, (reach, 0))[:, :, : is_there.shape[2]]
    within = ended * begun
    return torch.where(within.sum(2, keepdim=True) > 0, within, is_there)


def kernels_by_dilation(kernels: int, time: int) -> dict[int, int]:
    """How many kernels have which dilation: evenly on a logarithmic scale, from 1 to what fits into `time` steps."""
    largest = math.log2(max(1.0, (time - 1) / (LENGTH - 1)))
    places = min(MOST_DILATIONS, kernels)
    scale = [int(2 ** (largest * place / max(1, places - 1))) for place in range(places)]
    return dict(sorted(Counter(scale[kernel % places] for kernel in range(kernels)).items()))


def _drawn(count: int, features: int) -> Tensor:
    """Kernels (count, features, LENGTH) that look at some of the features each, with a mean of 0 in each."""
    weights = torch.randn(count, features, LENGTH)
    looked_at = (2 ** (torch.rand(count) * math.log2(features + 1))).long().clamp(1, features)
    is_looked_at = torch.rand(count, features).argsort(1).argsort(1) < looked_at[:, None]
    weights = (weights - weights.mean(2, keepdim=True)) * is_looked_at[:, :, None]
    drawn: Tensor = LENGTH**0.5 * weights / weights.flatten(1).norm(dim=1)[:, None, None]
    return drawn
