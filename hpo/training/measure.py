"""Times the batches of a configuration that is tried out, so that its study's time and disk can be estimated."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.data import sized_len

from hpo.errors import HpoError
from hpo.ipc.messages import Measured
from hpo.study.job import TrialJob
from hpo.study.length import Unit
from hpo.training.checkpoint import dump
from hpo.training.worker_connection import WorkerConnection

MOST_SECONDS = 2.0  # of an epoch's batches after the first one; what takes longer is long enough to be timed


class Measure(pl.Callback):
    """Ends each epoch after a few seconds, and reports how long its batches took.

    Args:
        job: whose `trainer` section may limit the batches of an epoch.
    """

    def __init__(self, worker: WorkerConnection, job: TrialJob) -> None:
        self._worker = worker
        self._options = job.trainer
        self._unit = job.unit
        self._most_batches = job.batches
        self._training, self._validation = _Batches(), _Batches()
        self._since = 0.0
        self._sizes: tuple[int, int] | None = None
        self._has_ended_epoch = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _check_interval(self._options, _all_batches(trainer, self._options.get("limit_train_batches")), unit=self._unit)
        self._since = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._training, self._validation = _Batches(), _Batches()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._training.add(trainer)
        count = self._training.count
        is_enough = count == self._most_batches or (count > 1 and self._training.seconds > MOST_SECONDS)
        if trainer.strategy.reduce_boolean_decision(is_enough, all=False):
            self._has_ended_epoch = trainer.should_stop = True

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._validation.add(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._unit == Unit.STEP:  # before the worker has the report of the same batches
            self._report(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._has_ended_epoch:  # it was the epoch that should stop, not the training
            self._has_ended_epoch = trainer.should_stop = False
        if self._unit == Unit.EPOCH:
            self._report(trainer)

    def _report(self, trainer: pl.Trainer) -> None:
        seconds = time.perf_counter() - self._since
        self._sizes = self._sizes or (_bytes_of(trainer, weights_only=True), _bytes_of(trainer, weights_only=False))
        if trainer.is_global_zero:
            self._worker.send(
                Measured(
                    epoch_seconds=seconds,
                    batches=self._training.count,
                    batch_seconds=self._training.mean,
                    validation_batches=self._validation.count,
                    validation_batch_seconds=self._validation.mean,
                    all_batches=_all_batches(trainer, self._options.get("limit_train_batches")),
                    all_validation_batches=_all_validation_batches(trainer, self._options.get("limit_val_batches")),
                    validation_samples=_validation_samples(trainer),
                    weights_bytes=self._sizes[0],
                    state_bytes=self._sizes[1],
                )
            )
        self._since = time.perf_counter()


def _check_interval(options: Mapping[str, Any], batches: int | None, *, unit: str) -> None:
    """Refuse to validate after more batches than an epoch has: Lightning refuses it in each trial.

    Raises:
        HpoError: it is so.
    """
    interval = options.get("val_check_interval")
    is_in_epochs = unit == Unit.EPOCH and options.get("check_val_every_n_epoch", 1) is not None
    if not is_in_epochs or not isinstance(interval, int) or batches is None or interval <= batches:
        return
    error = HpoError(
        f"{interval} is more than the {batches} batches of an epoch. To count the batches of all epochs, write "
        f"trainer: {{val_check_interval: {interval}, check_val_every_n_epoch: null}}; or give a share of one, as 0.5"
    )
    error.owner, error.place = "trainer", "val_check_interval"  # type: ignore[attr-defined]
    raise error


class _Batches:
    """The batches of one loop, timed from the end of the first, which may start the loader's processes."""

    def __init__(self) -> None:
        self.count = 0
        self._first = self._last = 0.0

    def add(self, trainer: pl.Trainer) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()  # otherwise only the queueing of the work is timed
        self._last = time.perf_counter()
        self._first = self._first or self._last
        self.count += 1

    @property
    def seconds(self) -> float:
        """Of all but the first."""
        return self._last - self._first

    @property
    def mean(self) -> float:
        """Seconds of one batch; 0 where there was only one."""
        return self.seconds / (self.count - 1) if self.count > 1 else 0.0


class _Counter:
    """A file that only counts its bytes."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _bytes_of(trainer: pl.Trainer, *, weights_only: bool) -> int:
    """The size of the checkpoint that the trial would write now; all ranks call this together."""
    contents = dump(trainer, weights_only=weights_only).values
    counter = _Counter()
    torch.save(contents, counter)  # type: ignore[arg-type]
    return counter.count


def _all_batches(trainer: pl.Trainer, limit: float | None) -> int | None:
    """The batches of a whole epoch; None where the loader's length is not known."""
    loader = trainer.fit_loop._combined_loader
    if loader is None:
        return None
    lengths = [_length(one, limit) for one in loader.flattened]
    return _whole(min(lengths) if loader._mode == "min_size" else max(lengths))


def _all_validation_batches(trainer: pl.Trainer, limit: float | None) -> int | None:
    """The batches of a whole validation, which has its loaders one after the other."""
    loader = trainer.fit_loop.epoch_loop.val_loop._combined_loader
    return 0 if loader is None else _whole(sum(_length(one, limit) for one in loader.flattened))


def _validation_samples(trainer: pl.Trainer) -> int | None:
    """Of the whole part; None where a loader has no data set of a known size."""
    loader = trainer.fit_loop.epoch_loop.val_loop._combined_loader
    return _samples([] if loader is None else loader.flattened)


def samples_of(trainer: pl.Trainer, unit: Unit) -> float | None:
    """Samples that are trained in an epoch, or on average in a step; None where a loader does not say."""
    loader, batches = trainer.fit_loop._combined_loader, trainer.num_training_batches
    if loader is None or len(loader.flattened) != 1 or not batches or math.isinf(batches):
        return None
    samples, whole = _samples(loader.flattened), sized_len(loader.flattened[0])
    if not samples or not whole:
        return None
    of_epoch = samples * batches / whole
    return of_epoch if unit == Unit.EPOCH else of_epoch / batches * trainer.accumulate_grad_batches


def _samples(loaders: Iterable[Any]) -> int | None:
    sizes = [sized_len(getattr(one, "targets", getattr(one, "dataset", None))) for one in loaders]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _length(loader: Any, limit: float | None) -> float:
    length = sized_len(loader)
    if isinstance(limit, int):
        return min(limit, math.inf if length is None else length)
    return math.inf if length is None else int(length * (1.0 if limit is None else limit))


def _whole(length: float) -> int | None:
    return None if math.isinf(length) else int(length)
