"""Objectives that are measured in a trial's process: its parameters, its time, its memory, and the time of its forward.

They are added to the metrics that the model logs, so that they are stored, shown and compared like these.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import pytorch_lightning as pl
import torch

from hpo.study.objectives import INFERENCE_MS, MEASURED, PARAMETERS, PEAK_MEMORY, SECONDS_PER_EPOCH
from hpo.training.forward_time import forward_milliseconds
from hpo.training.peak_memory import peak_memory


class MeasuredMetrics:
    """
    parameters: of the model, as it is trained.
    seconds_per_epoch: the mean over the epochs of this attempt, with validation.
    peak_memory: bytes so far, see `hpo.training.peak_memory`.
    inference_ms: milliseconds of a forward of the first validation batch, on the trial's device, without gradients; the
        median of several, measured once.

    Args:
        wanted: names of metrics, of which those are measured that are in MEASURED.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = [name for name in MEASURED if name in wanted]
        self._began, self._first_epoch = 0.0, 0
        self._input: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._inference_ms: float | None = None
        self._hook: Any = None

    def begin(self, trainer: pl.Trainer) -> None:
        """The training begins, or goes on from a checkpoint."""
        self._began, self._first_epoch = time.perf_counter(), trainer.current_epoch
        if INFERENCE_MS in self._wanted and trainer.is_global_zero:
            module = trainer.lightning_module
            self._hook = module.register_forward_pre_hook(self._take_input, with_kwargs=True)

    def of(self, trainer: pl.Trainer, reached: int) -> dict[str, float]:
        """Each metric by name; without those that cannot be measured.

        Args:
            reached: the epoch that ends.
        """
        found = {name: self._measure(name, trainer, reached) for name in self._wanted}
        return {name: float(value) for name, value in found.items() if value is not None}

    def _measure(self, name: str, trainer: pl.Trainer, reached: int) -> float | None:
        if name == PARAMETERS:
            return sum(parameter.numel() for parameter in trainer.lightning_module.parameters())
        if name == SECONDS_PER_EPOCH:
            return (time.perf_counter() - self._began) / max(1, reached - self._first_epoch)
        if name == PEAK_MEMORY:
            return peak_memory(trainer.strategy.root_device)
        if self._inference_ms is None and self._input is not None:
            arguments, named = self._input
            module, self._input = trainer.lightning_module, None
            self._inference_ms = forward_milliseconds(trainer, lambda: module(*arguments, **named))
        return self._inference_ms

    def _take_input(self, module: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not module.training:
            self._input = (arguments, named)
            self._hook.remove()
