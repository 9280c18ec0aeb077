"""A study as one worker works on it: claims and samples its trials, decides after each epoch, and ends them."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from hpo import queue, tally
from hpo.algorithms import derive_seed, make_pruner, sampler_factory
from hpo.channel import Message
from hpo.definition import OWNERS
from hpo.devices import Slot
from hpo.errors import SpecError
from hpo.grid import grid_points
from hpo.history import History
from hpo.processes import ForkServer
from hpo.runningtrial import RunningTrial, trial_jobs
from hpo.stalling import has_stalled
from hpo.store import Store
from hpo.studies import StoredStudy, set_state
from hpo.weights import find_weights

log = logging.getLogger(__name__)

FAILURES_THAT_STOP = 5


class StudyRun:
    """One study on one worker."""

    def __init__(
        self,
        store: Store,
        study: StoredStudy,
        *,
        server: ForkServer,
        project: Path,
        artifacts: Path,
        worker_id: int,
    ) -> None:
        self.study = study
        self.definition = study.definition
        self.counts = tally.Counts(study.trials_target, 0, 0, 0, 0, 0)
        self.best: tuple[int, float] | None = None  # (number, value)
        self.stop_reason: str | None = None
        self._state = study.state
        self._obstacle: str | None = None  # why this worker cannot train the study's trials
        self._is_exhausted = False  # the last claim found nothing; asked again at the next look into the store
        self._server = server
        self._store = store
        self._project = project
        self._worker_id = worker_id
        self.directory = artifacts / f"{study.name}-{datetime.fromtimestamp(study.created, UTC):%Y%m%d-%H%M%S}"
        spec = self.definition.spec
        self._maximize = spec.goal.direction == "maximize"
        self._is_grid = spec.sampler.name == "grid"
        self._history = History(
            store,
            study.study_id,
            name=study.name,
            direction=spec.goal.direction,
            samplers=sampler_factory(spec, self.definition.space, project),
            pruner=make_pruner(spec, project),
        )

    def refresh(self) -> None:
        """Look into the store: what is wished of the study, and how far all workers together are."""
        self._is_exhausted = False
        self._state, reason, self.counts = tally.progress(self._store, self.study.study_id)
        self.stop_reason = reason if self._state == "stopped" else self._obstacle
        self.best = tally.best(self._store, self.study.study_id, maximize=self._maximize)
        self._history.sync()  # a pruner compares with what the other workers' trials reached since the last claim

    @property
    def is_over(self) -> bool:
        """All that was asked for has ended, or no more is wished, or possible on this machine."""
        return self.counts.ended >= self.counts.target or self._state != "running" or self._obstacle is not None

    @property
    def may_claim(self) -> bool:
        return not self.is_over and not self._is_exhausted

    def start_next(self, slot: Slot) -> RunningTrial | None:
        """Claim a trial, sample its parameters, and start its processes; None when there is nothing to claim."""
        claimed_at = time.monotonic()
        try:
            weights = find_weights(self._store, self.definition)
        except SpecError as error:
            log.warning("study %s cannot go on here: %s", self.study.name, error)
            self._obstacle = self.stop_reason = str(error)
            return None
        claim = queue.claim(
            self._store, self.study.study_id, worker_id=self._worker_id, slot=slot.number, device=slot.device
        )
        if claim is None:
            self._is_exhausted = True
            return None
        self._history.sync()
        self._history.adopt(claim.number)
        params = claim.params
        if params is None:
            params = self._history.suggest(claim.number, self.definition.space, point=self._given_point(claim.number))
        spec = self.definition.spec
        config: dict[str, Any] = {
            "params": params,
            "model": {"class": spec.model.label, **self.definition.arguments("model", params)},
            "data": {"class": spec.data.label, **self.definition.arguments("data", params)},
            "epochs": self.definition.epochs(params),
            "seed": derive_seed(spec.seed, claim.number, "trial"),
        }
        if weights:
            config["weights"] = weights
        if claim.params is None:
            queue.begin(self._store, claim, params=self._history.params_to_store(claim.number), config=config)
        trial = RunningTrial(
            claim=claim,
            slot=slot,
            epochs=config["epochs"],
            config=config,
            directory=self.directory / f"{claim.number:05d}",
            claimed_at=claimed_at,
        )
        shutil.rmtree(trial.directory, ignore_errors=True)  # of an earlier attempt
        trial.directory.mkdir(parents=True)
        trial.processes = [
            self._server.fork(job, with_spare=True)
            for job in trial_jobs(
                self.definition,
                config,
                trial=claim.number,
                slot=slot,
                project=self._project,
                directory=trial.directory,
            )
        ]
        log.info("trial %d started on slot %d (%s)", claim.number, slot.number, slot.device)
        return trial

    def on_epoch(self, trial: RunningTrial, message: Message, *, is_draining: bool) -> Message | None:
        """Take in an epoch's metrics and decide. None when the trial is no longer ours and was dropped."""
        metric = self.definition.spec.goal.metric
        trial.epoch, value = message["epoch"], message["value"]
        if value is None:
            trial.state, trial.cause = "FAIL", "diverged"
            trial.error = f"{metric} was not a finite number after epoch {trial.epoch}"
            return {"stop": True, "save": False}
        trial.value = value
        is_best = (
            trial.best_value is None or (value - trial.best_value if self._maximize else trial.best_value - value) > 0
        )
        if is_best:
            trial.best_value, trial.best_epoch = value, trial.epoch
        is_hopeless, attributes = self._history.report(trial.number, trial.epoch, value)
        is_ours = queue.report(
            self._store,
            trial.claim,
            epoch=trial.epoch,
            value=value,
            metrics=message["metrics"],
            seconds=message["seconds"],
            system_attributes=attributes,
        )
        if not is_ours:
            return None
        is_last = trial.epoch >= trial.epochs
        if is_hopeless and not is_last:
            trial.state = "PRUNED"
            return {"stop": True, "save": False}
        if is_draining and not is_last:
            trial.is_handed_back = True
            return {"stop": True, "save": False}
        return {"stop": is_last or self._has_stalled(trial), "save": is_best}

    def on_started(self, trial: RunningTrial, message: Message) -> None:
        """The model is built: note what it was built with, also what was left to its defaults."""
        trial.parameters = message["parameters"]
        weights = trial.config.get("weights", {})
        for owner in OWNERS:
            said = trial.config[owner]
            # What the study says of other trials' weights stands; which files these were stands beside it.
            words = {name: value for name, value in said.items() if isinstance(value, str) and value in weights}
            trial.config[owner] = {"class": said["class"], **message[owner], **words}
        queue.describe(self._store, trial.claim, config=trial.config)
        _write_beside_checkpoint(trial)

    def end(self, trial: RunningTrial) -> None:
        """Write the trial's end into the store; stop the study when it was one failure too many."""
        seconds = trial.seconds
        if trial.is_dropped:
            self._drop(trial)
            return
        if trial.is_handed_back:
            queue.hand_back(self._store, trial.claim, seconds=seconds)
            self._history.release(trial.claim.trial_id, trial.number)
            log.info("trial %d handed back after epoch %d", trial.number, trial.epoch)
            return
        if trial.state == "COMPLETE" and trial.best_value is None:
            trial.state, trial.cause = "FAIL", "error: no epoch"
            trial.error = "training ended without an epoch: the data module gave no batches"
        value = {"COMPLETE": trial.best_value, "PRUNED": trial.value}.get(trial.state)
        checkpoint = trial.directory / "best.ckpt"
        if trial.state != "COMPLETE":
            checkpoint.unlink(missing_ok=True)
        is_ours = queue.finish(
            self._store,
            trial.claim,
            state=trial.state,
            value=value,
            seconds=seconds,
            cause=trial.cause,
            error=trial.error,
            best_epoch=trial.best_epoch if trial.state == "COMPLETE" else None,
            checkpoint=str(checkpoint) if checkpoint.exists() else None,
            attributes={
                "epochs": trial.epoch,
                "seconds": round(seconds, 3),
                "parameters": trial.parameters,
                "device": trial.slot.device,
            },
        )
        if not is_ours:
            self._drop(trial)
            return
        self._history.end(trial.number, TrialState[trial.state], value)
        self._log_end(trial)
        if trial.state == "COMPLETE":
            self._keep_best()
        elif trial.state == "FAIL":
            self._stop_after_failures()
        self.refresh()

    def _drop(self, trial: RunningTrial) -> None:
        """Another worker has the trial now: forget our result."""
        self._history.release(trial.claim.trial_id, trial.number)
        log.warning("trial %d was taken over by another worker; this worker's result is dropped", trial.number)

    def _given_point(self, number: int) -> Mapping[str, Any] | None:
        """The point that a trial takes without sampling: the grid's, or the defaults for the first trial."""
        if self._is_grid:
            return next(itertools.islice(grid_points(self.definition.space), number, None), None)
        return self.definition.space.defaults() if number == 0 else None

    def _has_stalled(self, trial: RunningTrial) -> bool:
        stopping = self.definition.spec.early_stopping
        curve = self._history.curve(trial.number)
        return stopping is not None and has_stalled(
            [curve[epoch] for epoch in sorted(curve) if epoch <= trial.epoch],  # not what an earlier attempt reached
            patience=stopping.patience,
            min_delta=stopping.min_delta,
            maximize=self._maximize,
        )

    def _stop_after_failures(self) -> None:
        causes = tally.recent_causes(self._store, self.study.study_id, FAILURES_THAT_STOP)
        kinds = {cause for cause, _ in causes}
        if len(causes) < FAILURES_THAT_STOP or len(kinds) != 1 or None in kinds:
            return
        last_error = (causes[0][1] or "").strip()
        reason = f"{FAILURES_THAT_STOP} trials in a row failed with the same cause: {causes[0][0]}\n{last_error}"
        set_state(self._store, self.study.study_id, "stopped", reason)

    def _keep_best(self) -> None:
        """Delete the checkpoints of trials that are no longer among the best, as far as they are on this machine."""
        keep = self.definition.spec.keep.checkpoints
        ranked = tally.best_with_checkpoints(self._store, self.study.study_id, maximize=self._maximize)
        dropped = []
        for trial_id, _, checkpoint in ranked[keep:]:
            if Path(checkpoint).exists():
                Path(checkpoint).unlink()
                dropped.append(trial_id)
        if dropped:
            queue.drop_checkpoint(self._store, dropped)

    def _log_end(self, trial: RunningTrial) -> None:
        metric = self.definition.spec.goal.metric
        if trial.state == "FAIL":
            last_line = (trial.error or "").strip().splitlines()[-1:]
            log.warning("trial %d failed: %s: %s", trial.number, trial.cause, " ".join(last_line))
        elif trial.state == "PRUNED":
            log.info("trial %d pruned at epoch %d: %s %.4g", trial.number, trial.epoch, metric, trial.value)
        else:
            log.info(
                "trial %d complete: %s %.4g at epoch %s, %.1f s",
                trial.number, metric, trial.best_value, trial.best_epoch, trial.seconds,
            )  # fmt: skip


def _write_beside_checkpoint(trial: RunningTrial) -> None:
    """The configuration as `config.json`: from it and a checkpoint, a model can be rebuilt without the store."""
    path = trial.directory / "config.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(trial.config, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
