"""Lightning's validation within a training, with a plain loop over its batches."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.utilities import _no_grad_context
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

from hpo.training.lean.batches import remaining, transfer_to_device
from hpo.training.lean.hooks import hook_of
from hpo.training.lean.results import LeanResults
from hpo.training.lean.support import obstacle_in


class LeanValidationLoop(_EvaluationLoop):
    """Replaces `trainer.fit_loop.epoch_loop.val_loop`."""

    def __init__(self, trainer: pl.Trainer) -> None:
        super().__init__(trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False)
        self._results = LeanResults(training=False)
        self._is_verified = False

    def run(self) -> Any:
        return super().run() if obstacle_in(self.trainer) else self._run()

    @_no_grad_context
    def _run(self) -> Any:
        self.setup_data()
        if self.skip:
            return []
        self.reset()
        self.on_run_start()
        try:
            self._validate()
        finally:
            self.on_iteration_done()
        self._store_dataloader_outputs()
        return self.on_run_end()

    def _validate(self) -> None:
        trainer, model, fetcher = self.trainer, self.trainer.lightning_module, self._data_fetcher
        assert fetcher is not None
        connector, results, progress = trainer._logger_connector, self._results, self.batch_progress
        batch_start = hook_of(trainer, "on_validation_batch_start")
        batch_end = hook_of(trainer, "on_validation_batch_end")
        transfer, precision = transfer_to_device(trainer), trainer.precision_plugin
        context = None if type(precision) is Precision else precision.val_step_context
        validation_step = model.validation_step
        takes_index = is_param_in_hook_signature(validation_step, "batch_idx", min_args=2)
        is_one_of_several = self._is_sequential and self.num_dataloaders > 1
        state, previous = vars(model), 0
        for batch, batch_idx, loader in remaining(fetcher):
            if loader != previous:
                connector.on_batch_end()
                self._store_dataloader_outputs()
                previous = loader
            progress.is_last_batch = fetcher.done
            if transfer is not None:
                batch = transfer(batch, loader)
            progress.increment_ready()
            connector._first_loop_iter = connector._first_loop_iter is None
            results.batch, results.batch_size = batch, None
            results.dataloader_idx = loader if is_one_of_several else None
            which = (batch_idx, loader) if is_one_of_several else (batch_idx,)
            if batch_start is not None:
                batch_start(batch, *which)
            progress.increment_started()
            arguments = (batch, *which) if takes_index else (batch, *which[1:])
            state["_current_fx_name"] = "validation_step"
            if context is None:
                output = validation_step(*arguments)
            else:
                with context():
                    output = validation_step(*arguments)
            state["_current_fx_name"] = None
            progress.increment_processed()
            if batch_end is not None:
                batch_end(output, batch, *which)
            if trainer.loggers and _logs_steps(results):
                connector.on_batch_end()
                connector.update_eval_step_metrics(self._seen_batches_per_dataloader[loader])
            progress.increment_completed()
            self._has_run = True
            self._seen_batches_per_dataloader[loader] += 1
            if trainer.received_sigterm and not progress.is_last_batch:
                raise SIGTERMException
        if progress.current.ready:
            # Lightning does this after every batch; reading a metric does it as well.
            connector.on_batch_end()

    def _verify_dataloader_idx_requirement(self) -> None:
        if not self._is_verified:  # it inspects signatures, which do not change
            super()._verify_dataloader_idx_requirement()
            self._is_verified = True


def _logs_steps(results: _ResultCollection) -> bool:
    """Whether any value is logged after each batch, not after the epoch only."""
    return any(metric.meta.on_step and metric.meta.logger for metric in results.values())
