"""Iterates over batches, and moves them to the device."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.precision.precision import Precision
from lightning_fabric.utilities.apply_func import move_data_to_device
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.trainer import call
from pytorch_lightning.utilities.combined_loader import _MaxSizeCycle
from torch import Tensor

from hpo.training.lean.hooks import is_overridden, module_overrides

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")

Transfer = Callable[[Any, int], Any]


def batches_of(fetcher: _DataFetcher) -> Iterator[tuple[Any, bool]]:
    """Each batch, and whether it is the last, from the iterator that Lightning has created for the epoch."""
    loader = fetcher.combined_loader
    iterator = loader._iterator
    is_one = isinstance(iterator, _MaxSizeCycle) and loader.iterables is loader.flattened[0]
    if is_one and fetcher.length is not None:
        assert iterator is not None
        for number, batch in enumerate(itertools.islice(iterator.iterators[0], fetcher.length), 1):
            yield batch, number == fetcher.length
        return
    # Several loaders at once, or one without a length: Lightning prefetches one batch.
    for batch, _, _ in remaining(fetcher):
        yield batch, fetcher.done


def remaining(fetcher: _DataFetcher) -> Iterator[tuple[Any, int, int]]:
    """Each batch with its number and its loader's, from the existing iterator: a `for` would create another."""
    while True:
        try:
            found = next(fetcher)
        except StopIteration:
            return
        yield found


def transfer_to_device(trainer: pl.Trainer) -> Transfer | None:
    """A function that moves a batch, given with its loader's number, to the device; None where no move is needed."""
    model, precision, device = trainer.lightning_module, trainer.precision_plugin, trainer.strategy.root_device
    data: pl.LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    is_hooked = module_overrides(trainer, *TRANSFER_HOOKS) or (
        data is not None and any(is_overridden(name, data, pl.LightningDataModule) for name in TRANSFER_HOOKS)
    )
    if is_hooked or type(precision).convert_input is not Precision.convert_input:

        def by_hooks(batch: Any, loader: int) -> Any:
            batch = precision.convert_input(batch)
            batch = model._on_before_batch_transfer(batch, dataloader_idx=loader)
            return call._call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=loader)

        return by_hooks
    if device.type == "cpu":
        return None
    return lambda batch, _: batch if _is_on(device, batch) else move_data_to_device(batch, device)


def _is_on(device: torch.device, batch: Any) -> bool:
    if isinstance(batch, Tensor):
        return batch.device == device
    return type(batch) in (tuple, list) and all(_is_on(device, part) for part in batch)
