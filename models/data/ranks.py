"""What the processes that train one model together must agree on."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def rank_and_count() -> tuple[int, int]:
    """This process's rank, and how many there are: (0, 1) of a process alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def of_first_rank(tensor: Tensor) -> Tensor:
    """The first rank's values, on the device of the given tensor. All ranks must call it, with equal shapes."""
    shared = tensor.to(_device_of_group())
    distributed.broadcast(shared, src=0)
    return shared.to(tensor.device)


def holds_on_all(fact: bool) -> bool:
    """Whether it is true on every rank. All ranks must call it."""
    if rank_and_count()[1] == 1:
        return fact
    count = torch.tensor(int(fact), device=_device_of_group())
    distributed.all_reduce(count, op=distributed.ReduceOp.MIN)
    return bool(count)


def _device_of_group() -> torch.device:
    """On which the ranks can exchange tensors: NCCL alone takes those of a GPU only."""
    if "cpu" in str(distributed.get_backend_config()):
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
