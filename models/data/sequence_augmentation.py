"""Random changes of sequences in a batch; compared by Um et al. 2017, arXiv 1706.00527. Padding stays 0."""

from __future__ import annotations

import torch
from torch import Tensor

WAVES = 3  # of which the speed of a warped sequence is composed


def with_noise(x: Tensor, lengths: Tensor, deviations: Tensor) -> Tensor:
    """Sequences (batch, time, features) with normal noise of these standard deviations (features,)."""
    noisy = x + torch.randn_like(x) * deviations
    return noisy.masked_fill(~is_there(lengths, x.shape[1])[:, :, None], 0)


def with_warped_time(
    x: Tensor, lengths: Tensor, strength: float, targets: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Sequences with a varying speed, of unchanged lengths.

    With u from 0 at the first step to 1 at the last, step u gets the value at u + sum_k a_k sin(pi k u) / (pi k),
    between two steps their weighted mean; a_k is drawn from [-strength, strength] / WAVES. So the speed stays within
    1 - strength and 1 + strength, and the first and last steps do not move.

    Args:
        strength: below 1, so that time never runs backwards.
        targets: of each step (batch, time, ...), if there are any: each step gets the nearest one.
    """
    steps = torch.arange(x.shape[1], device=x.device)
    last = (lengths - 1)[:, None]
    u = steps / last.clamp(min=1)
    waves = torch.arange(1, WAVES + 1, device=x.device) * torch.pi
    drawn = (2 * torch.rand(len(x), WAVES, device=x.device) - 1) * strength / WAVES
    shown = u + (torch.sin(u[:, :, None] * waves) * (drawn / waves)[:, None, :]).sum(-1)
    place = (shown * last).clamp(min=0).minimum(last.to(x.dtype))  # (batch, time), in steps
    below = place.floor().long()
    above = (below + 1).minimum(last)
    weight = (place - below)[:, :, None]
    there = is_there(lengths, x.shape[1])
    warped = _taken(x, below) * (1 - weight) + _taken(x, above) * weight
    if targets is not None:
        moved = _taken(targets, place.round().long())
        targets = torch.where(there.reshape(*there.shape, *[1] * (targets.ndim - 2)), moved, targets)
    return warped.masked_fill(~there[:, :, None], 0), targets


def is_there(lengths: Tensor, time: int) -> Tensor:
    """Whether a step is within its sequence's length (batch, time)."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def _taken(values: Tensor, steps: Tensor) -> Tensor:
    """Values (batch, time, ...) at steps (batch, time)."""
    return values[torch.arange(len(values), device=values.device)[:, None], steps]
