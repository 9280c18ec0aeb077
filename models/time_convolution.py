"""Convolutions over time that leave out what lies beyond a sequence's length, also in batch norm's statistics."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Count = TypeVar("Count", int, Tensor)


class TimeConvolution(nn.Module):
    """A convolution over time and batch norm: (batch, channels, time) -> (batch, outputs, time / stride, rounded up).

    Args:
        kernel: odd; with padding of zeros, each step of the outputs is in the middle of its inputs.
        dilation: steps from one weight of the kernel to the next.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        # Without a bias before batch norm, which subtracts it with the mean.
        self.convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor, is_there: Tensor | None = None) -> Tensor:
        """Outputs, which beyond a length are undefined.

        Args:
            x: 0 beyond a length.
            is_there: which of the outputs' steps are within their sequence's length (batch, 1, steps); None for all.
        """
        y: Tensor = self.convolution(x)
        if is_there is None or not self.training:
            normed: Tensor = self.norm(y)
            return normed
        return self._normed(y, is_there)

    def _normed(self, y: Tensor, is_there: Tensor) -> Tensor:
        """As batch norm does, by the mean and variance of the steps that are there."""
        y, weights = y.float(), is_there.float()
        count = weights.sum()
        mean = (y * weights).sum((0, 2), keepdim=True) / count
        variance = ((y - mean).square() * weights).sum((0, 2), keepdim=True) / count
        norm = self.norm
        with torch.no_grad():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.num_batches_tracked is not None
            assert norm.momentum is not None
            unbiased = variance * count / (count - 1).clamp(min=1)
            norm.running_mean.lerp_(mean.flatten(), norm.momentum)
            norm.running_var.lerp_(unbiased.flatten(), norm.momentum)
            norm.num_batches_tracked.add_(1)
        scaled = norm.weight[:, None] * (variance + norm.eps).rsqrt()
        return (y - mean) * scaled + norm.bias[:, None]


def steps_within(lengths: Tensor, time: int) -> Tensor:
    """Which of `time` steps are within a length: (batch,) -> (batch, time)."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def divided(steps: Count, stride: int) -> Count:
    """The steps of sequences after a convolution of this stride."""
    return (steps + (stride - 1)) // stride


def check_stride(stride: int, kernel: int, *, per_step: bool, who: str) -> None:
    """Check the stride and the kernel of a first convolution.

    Raises:
        ValueError: one is no size, or steps that have a label each would be left without an output.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"{who}: kernel {kernel} should be an odd number of steps")
    if stride < 1:
        raise ValueError(f"{who}: stride {stride} should be 1 or more")
    if per_step and stride > 1:
        raise ValueError(
            f"{who}: a stride of {stride} leaves steps without an output, and this data has a label per step"
        )
