"""The end of a trial whose length is given in steps, which are training batches."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from hpo.errors import HpoError


class StepLimit(pl.Callback):
    """Ends the training after so many batches, with a validation.

    Lightning's own limit counts the optimizer's steps: of a batch there are several with several optimizers, and less
    than one where gradients are accumulated. There is no validation after its last step, unless one is due.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._steps_before = 0  # the present epoch
        self._empty_epochs = 0  # in succession

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Schedules of the learning rate have read it by now.
        if not pl_module.automatic_optimization or trainer.accumulate_grad_batches != 1:
            trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.enable_validation:
            raise HpoError(
                "with steps, each validation is judged, and there is none: it takes a validation_step and a "
                "val_dataloader; or give the length in epochs"
            )
        self._steps_before = steps_of(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if steps_of(trainer) >= self._steps:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        steps = steps_of(trainer)
        self._empty_epochs = self._empty_epochs + 1 if steps == self._steps_before else 0
        self._steps_before = steps
        # One that resumes may have had all batches of its epoch.
        if self._empty_epochs > 1 and not trainer.should_stop:
            error = HpoError(
                f"the training data gave no batch after step {steps} of {self._steps}: its loader can be used only once"
            )
            error.owner = "data"  # type: ignore[attr-defined]
            raise error


def steps_of(trainer: pl.Trainer) -> int:
    """The batches that were trained, of all epochs and attempts."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready
