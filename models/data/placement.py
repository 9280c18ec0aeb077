"""Where the samples of a part are kept: on the model's device if they fit there, else in the machine's memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.data.batches import Inputs, bytes_of_one, take
from models.data.ranks import holds_on_all

SHARE_OF_GPU = 0.25  # of the free memory, for one part's samples; the model needs the rest


class Placed(NamedTuple):
    """The samples of a part, for a model on `device`.

    Attributes:
        rows: those of `inputs` that are the part's; None for all.
        is_pinned: batches are copied to the device one by one, from pinned memory.
    """

    device: torch.device
    inputs: Inputs
    targets: Tensor
    rows: Tensor | None
    is_pinned: bool


def place(inputs: Inputs, targets: Tensor, rows: Tensor | None, device: torch.device) -> Placed:
    """Copy samples to the model's device, so that no step waits for a transfer, unless they take too much of a GPU.

    Several ranks decide alike, and all must call it.
    """
    if device.type == "cpu":
        return Placed(device, inputs, targets, rows, is_pinned=False)
    if device.type == "cuda" and not holds_on_all(fits(inputs, targets, device)):
        return Placed(device, inputs, targets, rows, is_pinned=True)
    own = inputs if rows is None else take(inputs, rows)  # processes share a file's rows in the machine's memory only
    return Placed(device, _to(device, own), targets.to(device), None, is_pinned=False)


def fits(inputs: Inputs, targets: Tensor, device: torch.device) -> bool:
    """Whether samples take a small share of the GPU's free memory."""
    free, _ = torch.cuda.mem_get_info(device)
    return len(targets) * bytes_of_one(inputs, targets) <= SHARE_OF_GPU * free


def _to(device: torch.device, inputs: Inputs) -> Inputs:
    return inputs.to(device) if isinstance(inputs, Tensor) else tuple(part.to(device) for part in inputs)
