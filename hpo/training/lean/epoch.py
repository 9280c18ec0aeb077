"""Lightning's training epoch with a plain loop over its batches.

The work once an epoch, and the loop's state in a checkpoint, are Lightning's: only the work in every batch is done
here, in the same order, and hooks that nothing overrides are skipped. Counters are kept as Lightning keeps them, so
that a module, a callback or a checkpoint finds the values that it expects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.utilities.types import LRSchedulerConfig

from hpo.training.lean.batches import batches_of, transfer_to_device
from hpo.training.lean.graphed import GraphedSteps
from hpo.training.lean.hooks import hook_of, module_overrides
from hpo.training.lean.results import LeanResults
from hpo.training.lean.step import step_of
from hpo.training.lean.support import obstacle_in
from hpo.training.lean.validation import LeanValidationLoop

# Lightning's text.
NO_BATCH = "train_dataloader yielded None. If this was on purpose, ignore this warning..."


class LeanEpochLoop(_TrainingEpochLoop):
    """Replaces `trainer.fit_loop.epoch_loop`.

    Args:
        on_obstacle: called with the reason when an epoch is trained by Lightning's own loop instead.
        graphs: replay steps on a device that has graphs; None computes all.
    """

    def __init__(
        self, trainer: pl.Trainer, on_obstacle: Callable[[str], None], graphs: GraphedSteps | None = None
    ) -> None:
        before = trainer.fit_loop.epoch_loop
        super().__init__(trainer, min_steps=before.min_steps, max_steps=before.max_steps)
        self.val_loop = LeanValidationLoop(trainer)
        self._results = LeanResults(training=True)
        self._on_obstacle = on_obstacle
        self._graphs = graphs

    def run(self, data_fetcher: _DataFetcher) -> None:
        if (reason := obstacle_in(self.trainer)) is not None:
            self._on_obstacle(reason)
        if self.restarting or reason is not None:  # the rest of an epoch, after a checkpoint in its middle
            super().run(data_fetcher)
            return
        self.reset()
        self.on_run_start(data_fetcher)
        try:
            self._train(data_fetcher)
        except StopIteration:  # in Lightning, this skips the rest of the epoch
            pass
        finally:
            self.on_iteration_done()

    def _train(self, fetcher: _DataFetcher) -> None:
        trainer, connector, results = self.trainer, self.trainer._logger_connector, self._results
        batch_start, batch_end = hook_of(trainer, "on_train_batch_start"), hook_of(trainer, "on_train_batch_end")
        needs_output = batch_end is not None
        if self._graphs is None:
            step = step_of(self, needs_output=needs_output)
        else:
            step = self._graphs.step_of(self, self._results, needs_output=needs_output)
        transfer = transfer_to_device(trainer)
        schedules = _schedules_to_step(trainer)
        is_eventful = self._may_do_more_than_train()
        validates_every, counts_all_epochs = self._validation_interval()
        progress, signals, batches = self.batch_progress, trainer._signal_connector, trainer.num_training_batches
        logged_every = trainer.log_every_n_steps if trainer.loggers else 0
        is_closed = True  # the last batch's logged values were processed
        if self.done:
            return
        for batch, is_last in batches_of(fetcher):
            progress.is_last_batch = is_last
            if transfer is not None:
                batch = transfer(batch, 0)
            batch_idx = progress.current.ready
            progress.increment_ready()
            connector._first_loop_iter = connector._first_loop_iter is None
            results.batch, results.batch_size, results.dataloader_idx = batch, None, None
            is_last = is_last or progress.current.ready == batches
            is_stepping = is_last or progress.current.ready % trainer.accumulate_grad_batches == 0
            output: Any = None
            if batch is None:
                self._warning_cache.warn(NO_BATCH)
            elif batch_start is not None and batch_start(batch, batch_idx) == -1:
                self._skip_rest_of_epoch()
            else:
                progress.increment_started()
                output = step(batch, batch_idx, is_stepping)
            progress.increment_processed()
            if is_stepping and schedules:
                self._step_schedules(schedules, batch_idx + 1)
            if is_last:
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
            if batch_end is not None:
                batch_end(output, batch, batch_idx)
            # Lightning does this after every batch; reading a metric does it as well.
            steps = self._batches_that_stepped + 1
            is_logging = is_stepping and logged_every > 0 and (steps % logged_every == 0 or trainer.should_stop)
            count = progress.total.ready if counts_all_epochs else progress.current.ready
            is_due = is_last or is_eventful or trainer.should_stop or signals.received_sigterm
            is_due = is_due or count % validates_every == 0 or 0 <= self.max_steps <= self.global_step
            is_closed = is_due or is_logging or batch_start is not None
            if is_closed:
                connector.on_batch_end()
            progress.increment_completed()
            if is_logging:
                connector.update_train_step_metrics()
            if is_due:
                self.on_advance_end(fetcher)  # validates, if it is due
                if self.done:
                    break
            elif is_stepping:
                self._batches_that_stepped += 1
        if not is_closed:
            connector.on_batch_end()

    def _may_do_more_than_train(self) -> bool:
        """Whether Lightning must check after every batch for other work, such as validation by the clock."""
        trainer = self.trainer
        plateaus = [config for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
        return trainer._val_check_time_interval is not None or any(config.interval == "step" for config in plateaus)

    def _validation_interval(self) -> tuple[float, bool]:
        """After how many batches Lightning validates, infinity for none, and whether they are those of all epochs."""
        trainer = self.trainer
        is_validated = self._should_check_val_epoch() and trainer.val_check_batch is not None
        return (trainer.val_check_batch if is_validated else math.inf), trainer.check_val_every_n_epoch is None

    def _skip_rest_of_epoch(self) -> None:
        self.batch_progress.increment_by(0, is_last_batch=True)
        self.batch_progress.increment_processed()
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        raise StopIteration

    def _step_schedules(self, schedules: list[LRSchedulerConfig], batch: int) -> None:
        if module_overrides(self.trainer, "lr_scheduler_step"):
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            return
        for config in schedules:
            if batch % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                config.scheduler.step()  # type: ignore[call-arg]
                self.scheduler_progress.increment_completed()


def _schedules_to_step(trainer: pl.Trainer) -> list[LRSchedulerConfig]:
    """The schedules that step with the optimizer."""
    return [c for c in trainer.lr_scheduler_configs if c.interval == "step" and not c.reduce_on_plateau]
