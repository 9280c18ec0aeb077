"""Running a function on several real ranks: processes joined by gloo, as a trial on several devices is."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def on_ranks(function: Callable[[], T], folder: Path, ranks: int = 2) -> list[T]:
    """What the function returns on each rank. It must be importable, and its result picklable."""
    context = multiprocessing.get_context("forkserver")
    # One import of what takes seconds, for all ranks of all tests.
    context.set_forkserver_preload(["torch", "pytorch_lightning", "optuna", "models.data.table"])
    with ProcessPoolExecutor(ranks, mp_context=context) as processes:
        running = [processes.submit(_as_rank, function, rank, ranks, folder) for rank in range(ranks)]
        return [process.result(timeout=300) for process in running]


def _as_rank(function: Callable[[], T], rank: int, ranks: int, folder: Path) -> T:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=300),
    )
    try:
        return function()
    finally:
        distributed.destroy_process_group()
