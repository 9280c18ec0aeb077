"""What is different without an error where a trial trains on several devices, told to the worker.

Each device has its part of the data, and batches of its own. A metric that is logged without `sync_dist` is that of the
first device's part, and a dataset without a length is not divided at all.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import IterableDataset

# Of Lightning's warning, which goes into the log of the trial only.
_NOT_SYNCED = re.compile(r"self\.log\('(?P<name>[^']+)', \.\.\., sync_dist=True\)")


def advise(trainer: pl.Trainer, tell: Callable[[str], None]) -> None:
    """Tell of batches and of undivided data now, and of metrics of one device when Lightning notices them.

    On the first rank.
    """
    if trainer.world_size == 1 or not trainer.is_global_zero:
        return
    _tell_of_metrics(tell, trainer.world_size)
    if sizes := {size for loader in _loaders(trainer) if isinstance(size := getattr(loader, "batch_size", None), int)}:
        each, every = (" and ".join(f"{size * by:,}" for size in sorted(sizes)) for by in (1, trainer.world_size))
        tell(f"a step learns from {every} samples: a batch of {each} on each of {trainer.world_size} devices")
    if any(isinstance(getattr(loader, "dataset", None), IterableDataset) for loader in _loaders(trainer)):
        tell(
            f"its training data is an IterableDataset, which nothing divides: each of the {trainer.world_size} devices "
            "reads all of it, unless it takes every rank's part itself"
        )


def _loaders(trainer: pl.Trainer) -> list[Any]:
    found = trainer.train_dataloader
    return list(found) if isinstance(found, list | tuple) else [found]


def _tell_of_metrics(tell: Callable[[str], None], ranks: int) -> None:
    shown, told = warnings.showwarning, set[str]()

    def show(message: Any, *others: Any, **more: Any) -> None:
        shown(message, *others, **more)
        found = _NOT_SYNCED.search(str(message))
        if found is not None and found["name"] not in told:
            told.add(found["name"])
            tell(
                f"it logs '{found['name']}' without sync_dist: its value is of the first of {ranks} devices, which has "
                f"its part of the data only. Write self.log('{found['name']}', ..., sync_dist=True)"
            )

    warnings.showwarning = show
