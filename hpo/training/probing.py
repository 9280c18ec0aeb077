"""Tells the worker what is known of a configuration before it trains: its parameters, and what one batch shows."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from hpo.errors import SpecError
from hpo.ipc.messages import Answer, Probed
from hpo.study.job import TrialJob
from hpo.study.objectives import INFERENCE_MS, PARAMETERS
from hpo.training.forward_time import forward_milliseconds
from hpo.training.peak_memory import peak_memory
from hpo.training.worker_connection import WorkerConnection


class RefusedError(Exception):
    """The worker refuses the configuration: it violates a constraint of its study."""


class Probing(pl.Callback):
    """Reports before the first batch, and after it, and ends the training where the worker says so.

    Args:
        job: whose `probed` names what is asked for.
    """

    def __init__(self, worker: WorkerConnection, job: TrialJob) -> None:
        self._worker = worker
        self._names = frozenset(job.probed)
        self._is_over = not self._names - {PARAMETERS}  # no batch has to be looked at

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch:  # it resumes
            self._is_over = True
        elif PARAMETERS in self._names:
            self._ask(trainer, Probed(_parameters(pl_module)))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_over:
            return
        self._is_over = True
        memory = peak_memory(trainer.strategy.root_device)
        passed = None
        if INFERENCE_MS in self._names:
            passed = forward_milliseconds(trainer, lambda: _predict(pl_module, batch))
        self._ask(trainer, Probed(_parameters(pl_module), passed, memory))

    def _ask(self, trainer: pl.Trainer, report: Probed) -> None:
        """All ranks call this together.

        Raises:
            RefusedError: the worker refuses the trial.
        """
        answer = self._worker.ask(report) if trainer.is_global_zero else Answer()
        if trainer.strategy.broadcast(answer).stop:
            raise RefusedError


def _parameters(module: pl.LightningModule) -> int:
    return sum(p.numel() for p in module.parameters())


def _predict(module: pl.LightningModule, batch: Any) -> None:
    """By the module's own `predict_step`, or `forward` of what stands first in the batch, as in (inputs, targets).

    Raises:
        SpecError: it has neither.
    """
    if type(module).predict_step is not pl.LightningModule.predict_step:
        module.predict_step(batch, 0)
        return
    try:
        module(batch[0] if isinstance(batch, list | tuple) else batch)
    except NotImplementedError:
        name = type(module).__name__
        error = SpecError(f"{INFERENCE_MS} cannot be measured: {name} has neither forward nor predict_step")
        error.owner = "constraints"  # type: ignore[attr-defined]
        raise error from None
