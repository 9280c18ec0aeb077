"""The callback that reports the metrics of each epoch or validation and follows the answer: continue, save, stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from hpo.ipc.messages import Alive, Answer, Epoch, Training, Warned
from hpo.study.job import BEST_CHECKPOINT
from hpo.study.length import Unit
from hpo.training.best import Best
from hpo.training.checkpoint import CheckpointContents, UnwrittenByAnotherError, dump
from hpo.training.measure import samples_of
from hpo.training.measured_metrics import MeasuredMetrics
from hpo.training.peak_memory import peak_memory
from hpo.training.rank_advice import advise
from hpo.training.resume import Saver, of_all_ranks, random_state, set_random_state
from hpo.training.scored_weights import ScoredWeights
from hpo.training.step_limit import steps_of
from hpo.training.worker_connection import WorkerConnection

PULSE_SECONDS = 2.0
WARN_EVERY_SECONDS = 60.0
# Between the tries to write the weights of the best epoch: the training may have been long, and they are in memory.
PAUSES_SECONDS = (0.5, 1.0, 2.0)
# A worker that is killed may lose the last reports; the checkpoint repeats them.
EPOCHS_IN_CHECKPOINT = 100


class Report(Checkpoint):
    """Runs after all other callbacks, as Lightning's checkpoints do, when the metrics are complete.

    Args:
        directory: for checkpoints; without it, none is written, but what one would be without is reported.
        scored: another of the trial's callbacks.
        further: other objectives than `metric`, logged or measured; an epoch is judged when all are known.
        given: arguments of the model that the data module gave.
        unit: what it reports at the end of: each epoch, or each validation, by its step.
        last: the epoch or step at which the trial ends, unless it ends earlier, when the state after it is to be kept.
    """

    def __init__(
        self,
        worker: WorkerConnection,
        metric: str,
        directory: Path | None,
        scored: ScoredWeights,
        given: Mapping[str, Any] | None = None,
        *,
        further: Sequence[str] = (),
        unit: Unit = Unit.EPOCH,
        last: int | None = None,
        tell: Callable[[Epoch], None] = lambda _: None,
    ) -> None:
        self._tell = tell
        self._further = further
        self._measured = MeasuredMetrics(further)
        self._unit = unit
        self._last = last
        self._worker = worker
        self._metric = metric
        self._directory = directory
        self._scored = scored
        self._saver = Saver(directory) if directory is not None else None
        self._best = Best(directory / BEST_CHECKPOINT, scored, given or {}) if directory is not None else None
        self._named: set[str] = set()  # values that checkpoints are without, and that were reported
        self._warned_at = float("-inf")  # of a checkpoint that could not be written
        self._started = time.perf_counter()
        self._curve: list[Epoch] = []  # the last epochs, as they were reported
        self._random_states: list[dict[str, Any]] = []  # of each rank, to resume with
        self._pulse_thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._keeps_best = True
        self._judged: torch.Tensor | None = None  # the objective as it was last logged
        self._is_told_to_stop = False
        self.is_trained = True  # unless an answer has ended the training early, to pause or to prune it
        self._is_saved = False  # the whole state, at the last report

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Before Lightning creates the first iterator over the data, which may draw the order of the samples.
        if len(self._random_states) == trainer.world_size:
            set_random_state(self._random_states[trainer.global_rank])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._random_states:
            self._resume_metrics(trainer)
        self._measured.begin(trainer)
        # A rate that is lowered when nothing improves follows no plan.
        is_planned = any(not config.reduce_on_plateau for config in trainer.lr_scheduler_configs)
        self._worker.send(Training(is_planned=is_planned, samples=samples_of(trainer, self._unit)))
        if self._saver is None:  # a configuration is tried out, before the first trial
            advise(trainer, lambda text: self._worker.send(Warned(text)))
        self._pulse_thread = threading.Thread(target=self._pulse, args=(trainer,), name="pulse", daemon=True)
        self._pulse_thread.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._unit == Unit.EPOCH:
            self._report(trainer, self._reached(trainer))
        elif self._is_told_to_stop:  # what times the batches stops epochs, and has taken it for its own
            trainer.should_stop = True
        if self._last is not None and (trainer.should_stop or self._reached(trainer) >= self._last):
            self._save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._unit == Unit.STEP:
            self._report(trainer, self._reached(trainer))

    def _reached(self, trainer: pl.Trainer) -> int:
        """The epoch that ends, or the steps that were trained."""
        return trainer.current_epoch + 1 if self._unit == Unit.EPOCH else steps_of(trainer)

    def _report(self, trainer: pl.Trainer, reached: int) -> None:
        """Report, and follow the answer; all ranks call this together.

        Args:
            reached: the epoch or step that has ended.
        """
        answer = Answer()
        if self._saver is None:  # a configuration is tried out
            self._name_left_out(trainer, dump(trainer, weights_only=False))
        # Reading a metric may synchronise the ranks, so every rank reads them all.
        metrics = {name: _number(value) for name, value in trainer.callback_metrics.items()}
        if trainer.is_global_zero:
            logged = trainer.callback_metrics.get(self._metric)
            metrics |= self._measured.of(trainer, reached)
            # Lightning keeps the value of the last validation until the next one.
            is_logged, self._judged = logged is not None and logged is not self._judged, logged
            if not is_logged:
                metrics.pop(self._metric, None)
            is_judged = is_logged and all(name in metrics for name in self._further)
            is_finite = is_judged and all(metrics[name] is not None for name in self._further)
            epoch = Epoch(
                epoch=reached,
                value=metrics[self._metric] if is_finite else None,
                metrics={name: value for name, value in metrics.items() if value is not None},
                seconds=time.perf_counter() - self._started,
                is_judged=is_judged,
                memory=peak_memory(trainer.strategy.root_device),
            )
            self._curve = [*self._curve[1 - EPOCHS_IN_CHECKPOINT :], epoch]
            answer = self._worker.ask(epoch)
            self._tell(epoch)
            # A periodic checkpoint, or one because the attempt ends here and another resumes.
            is_due = self._saver is not None and not answer.stop and self._saver.is_due()
            answer = replace(answer, checkpoint=answer.checkpoint or is_due)
        answer = trainer.strategy.broadcast(answer)
        try:
            if answer.save and self._best is not None:
                self._name_left_out(trainer, self._best.take(trainer))
            if answer.checkpoint and self._saver is not None and self._best is not None:
                self._name_left_out(trainer, self._saver.save(trainer, self._best))
        except OSError as error:  # such as a full disk: the training is worth more than its checkpoint
            self._warn_of_unwritten(error)
        self._is_saved = answer.checkpoint
        self._scored.release()
        self._keeps_best = not answer.drop
        self._is_told_to_stop = answer.stop
        self.is_trained = answer.is_trained or not answer.stop
        trainer.should_stop = trainer.should_stop or answer.stop

    def _save_last(self, trainer: pl.Trainer) -> None:
        """Write the whole state, unless the last report did or nothing of the trial is kept; all ranks call this."""
        if self._saver is None or self._best is None or self._is_saved or not self._keeps_best:
            return
        try:
            self._name_left_out(trainer, self._saver.save(trainer, self._best))
        except OSError as error:
            self._warn_of_unwritten(error)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._best is None or not self._keeps_best:
            return
        for pause in (*PAUSES_SECONDS, None):
            try:
                self._best.write(trainer)
            except OSError as error:  # on all ranks
                if pause is None:
                    self._warn_of_unwritten(error, is_last=True)
                else:
                    time.sleep(pause)
            else:
                return

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._is_over.set()
        if self._pulse_thread is not None:
            self._pulse_thread.join()

    def state_dict(self) -> dict[str, Any]:
        """All ranks call this together."""
        return {"random": of_all_ranks(random_state()), "curve": [asdict(epoch) for epoch in self._curve]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        states = state_dict["random"]
        self._random_states = [states] if isinstance(states, dict) else states  # an earlier release kept one
        self._curve = [Epoch(**fields) for fields in state_dict["curve"]]

    def _resume_metrics(self, trainer: pl.Trainer) -> None:
        """Tell the training what was logged before the checkpoint.

        Schedules of the learning rate may read it before there is another validation, and Lightning reports each metric
        until it is logged again.
        """
        before = self._metrics_before()
        if self._unit == Unit.EPOCH:
            self._step_plateau_schedules(trainer, before)
        # float64 holds whatever type they had.
        known = {name: torch.tensor(value, dtype=torch.float64) for name, value in before.items()}
        trainer._logger_connector._callback_metrics.update(known)
        self._judged = known.get(self._metric)

    def _metrics_before(self) -> dict[str, float]:
        """The metrics as of the checkpoint, the objective too where its epoch has not logged it anew."""
        last = self._curve[-1].metrics if self._curve else {}
        judged = (epoch.value for epoch in reversed(self._curve) if epoch.is_judged)
        objective = next(judged, None)
        return dict(last) if objective is None else {self._metric: objective, **last}

    def _step_plateau_schedules(self, trainer: pl.Trainer, metrics: Mapping[str, Any]) -> None:
        """Step the schedules that monitor a metric for the checkpoint's epoch, which was saved before they stepped.

        Lightning steps the other schedules itself.
        """
        for config in trainer.lr_scheduler_configs:
            value = metrics.get(config.monitor or "")
            is_due = config.interval == "epoch" and trainer.current_epoch % config.frequency == 0
            if config.reduce_on_plateau and is_due and value is not None:
                config.scheduler.step(value)

    def _pulse(self, trainer: pl.Trainer) -> None:
        """Report to the worker while there are new steps: a trial that hangs sends nothing."""
        before = None
        while not self._is_over.wait(PULSE_SECONDS):
            loop = trainer.fit_loop.epoch_loop
            now = (loop.batch_progress.total.ready, loop.val_loop.batch_progress.total.ready)
            if now != before:
                self._worker.send(_alive(trainer, self._unit))
            before = now

    def _name_left_out(self, trainer: pl.Trainer, checkpoint: CheckpointContents) -> None:
        """Report once what the trial's checkpoints are without."""
        if not trainer.is_global_zero:
            return
        needed, spare = (
            [str(left_out) for left_out in some if str(left_out) not in self._named]
            for some in (checkpoint.needed, checkpoint.spare)
        )
        self._named |= {*needed, *spare}
        if needed:
            self._worker.send(
                Warned(
                    f"its checkpoints are without {', '.join(needed)}, and no attempt can resume from them: what can "
                    "only be read by running code is not kept. Save numbers, text, tensors or arrays instead, for "
                    "instance what its state_dict() or vars() gives"
                )
            )
        if spare:
            print(f"checkpoints: without {', '.join(spare)}, which nothing reads back")  # noqa: T201 # into the log

    def _warn_of_unwritten(self, error: OSError, *, is_last: bool = False) -> None:
        """Report that a checkpoint is missing: at most once a minute, and at the end."""
        now = time.monotonic()
        is_told = now - self._warned_at < WARN_EVERY_SECONDS and not is_last
        if isinstance(error, UnwrittenByAnotherError) or is_told:
            return
        self._warned_at = now
        self._worker.send(Warned(f"its checkpoint could not be written: {error}"))


def _alive(trainer: pl.Trainer, unit: Unit) -> Alive:
    """How far the trial is: its epochs with the share of the present one, where that is known; or its steps."""
    done, batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready, float(trainer.num_training_batches)
    if unit == Unit.STEP:
        return Alive(float(steps_of(trainer)), step=done)
    is_known = batches and math.isfinite(batches)
    return Alive(trainer.current_epoch + min(1.0, done / batches) if is_known else None, step=done)


def _number(value: torch.Tensor) -> float | None:
    """The value as a number; None for NaN and infinities, which JSON does not have."""
    number = float(value)
    return number if math.isfinite(number) else None
