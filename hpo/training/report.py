"""The callback that tells the worker each epoch's metrics and does what the worker decides: go on, save, stop."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from hpo.errors import SpecError, nearest
from hpo.training.link import Link

BEST_CHECKPOINT = "best.ckpt"


class Report(Checkpoint):
    """Runs after all other callbacks, as Lightning's checkpoints do, when the epoch's metrics are complete."""

    def __init__(self, link: Link, metric: str, directory: Path | None) -> None:
        self._link = link
        self._metric = metric
        self._directory = directory
        self._started = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._link.tell({"kind": "training"})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        reply = {}
        # Reading a metric may synchronise the ranks, so every rank reads them all.
        metrics = {name: _number(value) for name, value in trainer.callback_metrics.items()}
        if trainer.is_global_zero:
            if self._metric not in metrics:
                raise SpecError(_never_logged(self._metric, metrics))
            reply = self._link.ask(
                {
                    "kind": "epoch",
                    "epoch": trainer.current_epoch + 1,
                    "metrics": {name: value for name, value in metrics.items() if value is not None},
                    "value": metrics[self._metric],
                    "seconds": time.perf_counter() - self._started,
                }
            )
        reply = trainer.strategy.broadcast(reply)
        if reply["save"] and self._directory is not None:
            self._save(trainer, self._directory / BEST_CHECKPOINT)
        trainer.should_stop = trainer.should_stop or reply["stop"]

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        """Weights and hyperparameters only; a reader never sees half a file."""
        partial = path.with_suffix(".partial")
        trainer.save_checkpoint(partial, weights_only=True)
        if trainer.is_global_zero:
            partial.replace(path)


def _number(value: torch.Tensor) -> float | None:
    """None for what JSON cannot say: NaN and the infinities."""
    number = float(value)
    return number if math.isfinite(number) else None


def _never_logged(metric: str, metrics: dict[str, float | None]) -> str:
    names = ", ".join(sorted(metrics)) or "nothing"
    return (
        f"the model never logs '{metric}'{nearest(metric, metrics) or '.'} After one epoch it had logged "
        f"{names}. Log it in validation_step with self.log('{metric}', ...)"
    )
