"""A study as one worker works on it: claims and samples its trials, decides after each epoch, and ends them."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection

from hpo import queue, tally, writes
from hpo.algorithms import derive_seed, make_pruner, sampler_factory
from hpo.channel import Message
from hpo.definition import OWNERS
from hpo.devices import Slot
from hpo.errors import SpecError
from hpo.grid import grid_points
from hpo.history import DIVERGED, History
from hpo.limits import is_reached
from hpo.outbox import Outbox
from hpo.processes import ForkServer
from hpo.runningtrial import BEST_CHECKPOINT, RESUME_CHECKPOINTS, RunningTrial, trial_jobs
from hpo.stalling import has_stalled
from hpo.store import Store
from hpo.studies import StoredStudy, set_state
from hpo.weights import find_weights

log = logging.getLogger(__name__)

FAILURES_THAT_STOP = 5
GO_ON: Message = {"stop": False, "save": False, "checkpoint": False}


class StudyRun:
    """One study on one worker.

    Attributes:
        progress: how far all workers together are, as of the last look into the store.
        best: (number, value) of the best complete trial.
        stop_reason: why no more is wished or possible, in words.
    """

    def __init__(
        self,
        store: Store,
        study: StoredStudy,
        *,
        outbox: Outbox,
        server: ForkServer,
        project: Path,
        artifacts: Path,
        worker_id: int,
    ) -> None:
        self.study = study
        self.definition = study.definition
        self.progress = tally.Progress(study.state, None, tally.Counts(study.trials_target, 0, 0, 0, 0, 0))
        self.best: tuple[int, float] | None = None
        self.stop_reason: str | None = None
        self._obstacle: str | None = None  # why this worker cannot train the study's trials
        self._is_exhausted = False  # the last claim found nothing; asked again at the next look into the store
        self._server = server
        self._store = store
        self._outbox = outbox
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
            diverged=spec.goal.diverged,
        )

    @property
    def counts(self) -> tally.Counts:
        return self.progress.counts

    def refresh(self) -> None:
        """Look into the store: what is wished of the study, and how far all workers together are."""
        self._is_exhausted = False
        self.progress = tally.progress(self._store, self.study.study_id)
        is_to_end = self.progress.limit is not None or self.progress.state in ("stopped", "killed")
        if is_to_end and self.counts.running:
            with self._store.write() as connection:
                queue.end_unheld(connection, self.study.study_id, limit=self.progress.limit)
        stopped = self.progress.reason if self.progress.state in ("stopped", "killed") else None
        self.stop_reason = stopped or self._obstacle
        self.best = tally.best(self._store, self.study.study_id, maximize=self._maximize)
        self._history.sync()  # a pruner compares with what the other workers' trials reached since the last claim

    @property
    def is_over(self) -> bool:
        """All that was asked for has ended, or no more is wished, or possible on this machine."""
        return self.progress.is_over or self._obstacle is not None

    @property
    def may_claim(self) -> bool:
        return not (self.is_over or self._is_exhausted or self.progress.state != "running" or self.progress.limit)

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
            self._store,
            self.study.study_id,
            worker_id=self._worker_id,
            slot=slot.number,
            device=slot.device,
            devices=slot.ranks,
        )
        if claim is None:
            self._is_exhausted = True
            return None
        self._history.adopt(claim.number, is_new=claim.is_new)
        params = claim.params
        if params is None:
            params = self._sample(claim)
        if params is None:
            return None
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
            stored = self._history.params_to_store(claim.number)
            with self._store.write() as connection:
                writes.begin(connection, claim, params=stored, config=config, seed=config["seed"])
        trial = RunningTrial(
            claim=claim,
            slot=slot,
            epochs=config["epochs"],
            config=config,
            directory=self.directory / f"{claim.number:05d}",
            claimed_at=claimed_at,
        )
        try:
            trial.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._outbox.went_down(f"the folder {trial.directory} cannot be made ({error.strerror})")
            trial.back = "paused"
            self.end(trial)
            return None
        trial.processes = [
            self._server.fork(job, with_spare=True)
            for job in trial_jobs(
                self.definition,
                config,
                trial=claim.number,
                slot=slot,
                project=self._project,
                directory=trial.directory,
                attempt=claim.attempt,
            )
        ]
        attempt = f", attempt {claim.attempt}" if claim.attempt > 1 else ""
        log.info("trial %d started on slot %d (%s)%s", claim.number, slot.number, slot.device, attempt)
        return trial

    def on_started(self, trial: RunningTrial, message: Message) -> None:
        """The model is built: note what it was built with, also what was left to its defaults."""
        trial.parameters = message["parameters"]
        trial.config["executor"] = message["executor"]
        weights = trial.config.get("weights", {})
        for owner in OWNERS:
            said = trial.config[owner]
            # What the study says of other trials' weights stands; which files these were stands beside it.
            words = {name: value for name, value in said.items() if isinstance(value, str) and value in weights}
            trial.config[owner] = {"class": said["class"], **message[owner], **words}
        if message["from_epoch"]:
            log.info("trial %d goes on after epoch %d", trial.number, message["from_epoch"])
        known = self._history.curve(trial.number)
        for told in message["curve"]:
            if told["epoch"] not in known and told["value"] is not None:
                self._record(trial, told)
        self._take_up(trial, message["from_epoch"])
        config, from_epoch = dict(trial.config), message["from_epoch"]
        self._outbox.put(
            lambda connection: writes.describe(connection, trial.claim, config=config, from_epoch=from_epoch),
            then=partial(self._on_written, trial),
        )
        _write_beside_checkpoint(trial)

    def on_epoch(self, trial: RunningTrial, message: Message) -> Message:
        """Take in an epoch's metrics, and decide how it goes on."""
        metric, epoch, value = self.definition.spec.goal.metric, message["epoch"], message["value"]
        if epoch <= trial.epoch:
            log.warning("trial %d reported epoch %d after epoch %d: ignored", trial.number, epoch, trial.epoch)
            return GO_ON
        trial.epoch = epoch
        if value is None:
            trial.state, trial.kind, trial.cause = "FAIL", DIVERGED, DIVERGED
            trial.error = f"{metric} was not a finite number after epoch {epoch}"
            return GO_ON | {"stop": True}
        is_best = self._note(trial, epoch, value)
        is_hopeless = self._record(trial, message)
        return self._decide(trial, value, is_best=is_best, is_hopeless=is_hopeless)

    def _record(self, trial: RunningTrial, message: Message) -> bool:
        """Write down an epoch's metrics; whether the pruner finds the trial hopeless."""
        epoch, value = message["epoch"], message["value"]
        is_hopeless, attributes = self._history.report(trial.number, epoch, value)
        self._outbox.put(
            lambda connection: writes.report(
                connection,
                trial.claim,
                epoch=epoch,
                value=value,
                metrics=message["metrics"],
                seconds=message["seconds"],
                system_attributes=attributes,
            ),
            then=partial(self._on_written, trial),
        )
        return is_hopeless

    def _decide(self, trial: RunningTrial, value: float, *, is_best: bool, is_hopeless: bool) -> Message:
        target = self.definition.spec.budget.target if not self.progress.limits else self.progress.limits["target"]
        is_good_enough = target is not None and is_reached(target, value, maximize=self._maximize)
        if trial.epoch >= trial.epochs or is_good_enough or self._has_stalled(trial):
            return GO_ON | {"stop": True, "save": is_best}
        if is_hopeless or trial.wish == "stop":
            trial.state, trial.cause = "PRUNED", None if is_hopeless else trial.wish_cause
            return GO_ON | {"stop": True}
        if trial.wish == "pause":
            trial.back = trial.wish_cause or "paused"
            return {"stop": True, "save": is_best, "checkpoint": True}
        return GO_ON | {"save": is_best}

    def end(self, trial: RunningTrial) -> None:
        """Write the trial's end into the store; stop the study when it was one failure too many."""
        if trial.is_dropped:
            self._drop(trial)
        elif trial.back is not None:
            back, seconds = trial.back, trial.seconds
            self._outbox.put(
                lambda connection: writes.end_attempt(
                    connection, trial.claim, kind=back, cause=f"{back}: handed back by its worker", seconds=seconds
                ),
                then=partial(self._on_handed_back, trial),
                now=True,
            )
        else:
            self._finish(trial)

    def _finish(self, trial: RunningTrial) -> None:
        if trial.state == "COMPLETE" and trial.best_value is None:
            trial.state, trial.kind, trial.cause = "FAIL", "error", "error: no epoch"
            trial.error = "training ended without an epoch: the data module gave no batches"
        is_kept = trial.state == "COMPLETE" and (trial.directory / BEST_CHECKPOINT).exists()
        seconds = trial.seconds
        value = {"COMPLETE": trial.best_value, "PRUNED": trial.value}.get(trial.state)
        retries = self.definition.spec.retries.of(trial.kind)

        def write(connection: Connection) -> bool:
            if trial.state == "FAIL" and writes.may_retry(connection, trial.claim, kind=trial.kind, retries=retries):
                trial.is_retried = True
                cause = trial.cause or trial.kind
                return writes.end_attempt(
                    connection, trial.claim, kind=trial.kind, cause=cause, error=trial.error, seconds=seconds
                )
            return writes.finish(
                connection,
                trial.claim,
                state=trial.state,
                value=value,
                seconds=seconds,
                kind=trial.kind,
                cause=trial.cause,
                error=trial.error,
                best_epoch=trial.best_epoch if trial.state == "COMPLETE" else None,
                checkpoint=str(trial.directory / BEST_CHECKPOINT) if is_kept else None,
                attributes={
                    "epochs": trial.epoch,
                    "seconds": round(seconds, 3),
                    "parameters": trial.parameters,
                    "device": trial.slot.device,
                },
            )

        self._outbox.put(write, then=partial(self._on_finished, trial, value), now=True)

    # ---- what follows when a write is in the store

    def _on_written(self, trial: RunningTrial, is_ours: bool) -> None:
        trial.is_dropped = trial.is_dropped or not is_ours

    def _on_handed_back(self, trial: RunningTrial, is_ours: bool) -> None:
        if not is_ours:
            self._drop(trial)
            return
        self._history.release(trial.claim.trial_id, trial.number)
        log.info("trial %d handed back after epoch %d (%s)", trial.number, trial.epoch, trial.back)

    def _on_finished(self, trial: RunningTrial, value: float | None, is_ours: bool) -> None:
        if not is_ours:
            self._drop(trial)
            return
        if trial.is_retried:
            self._history.release(trial.claim.trial_id, trial.number)
            log.warning("trial %d: %s; it is tried again", trial.number, trial.cause)
            self._is_exhausted = False
            return
        self._history.end(trial.number, TrialState[trial.state], value, cause=trial.cause)
        self._log_end(trial)
        unneeded = [*RESUME_CHECKPOINTS, *([BEST_CHECKPOINT] if trial.state != "COMPLETE" else [])]
        for name in unneeded:
            (trial.directory / name).unlink(missing_ok=True)
        if trial.state == "COMPLETE":
            self._keep_best()
        elif trial.state == "FAIL":
            self._stop_after_failures(trial.kind)
        self.refresh()

    def _drop(self, trial: RunningTrial) -> None:
        """Another worker has the trial now: forget our result."""
        self._history.release(trial.claim.trial_id, trial.number)
        log.warning("trial %d was taken over by another worker; this worker's result is dropped", trial.number)

    # ---- helpers

    def _sample(self, claim: queue.Claim) -> dict[str, Any] | None:
        """The trial's parameters; None when it asks for a point outside of the space, and has failed for it."""
        space = self.definition.space
        try:
            params = self._history.suggest(claim.number, space, point=self._given_point(claim.number))
            problem = None if space.contains(params) else f"{params} is not in the study's space"
        except (ValueError, KeyError) as error:
            params, problem = {}, str(error)
        if problem is None:
            return params
        cause = "error: outside of the space"
        log.warning("trial %d failed: %s: %s", claim.number, cause, problem)
        with self._store.write() as connection:
            writes.finish(
                connection, claim, state="FAIL", value=None, seconds=0.0, kind="error", cause=cause, error=problem
            )
        self._history.end(claim.number, TrialState.FAIL, None)
        return None

    def _take_up(self, trial: RunningTrial, from_epoch: int) -> None:
        """What the attempts before have reached, up to the epoch that this one goes on from."""
        if from_epoch == 0:
            (trial.directory / BEST_CHECKPOINT).unlink(missing_ok=True)
        curve = self._history.curve(trial.number)
        for epoch in sorted(epoch for epoch in curve if epoch <= from_epoch):
            self._note(trial, epoch, curve[epoch])
        trial.epoch = from_epoch

    def _note(self, trial: RunningTrial, epoch: int, value: float) -> bool:
        """Take in a value; whether it is the trial's best."""
        trial.value = value
        best = trial.best_value
        is_best = best is None or (value > best if self._maximize else value < best)
        if is_best:
            trial.best_value, trial.best_epoch = value, epoch
        return is_best

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

    def _stop_after_failures(self, kind: str) -> None:
        if kind == "killed":  # somebody wished it
            return
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
            self._outbox.put(lambda connection: writes.drop_checkpoints(connection, dropped))

    def _log_end(self, trial: RunningTrial) -> None:
        metric = self.definition.spec.goal.metric
        if trial.state == "FAIL":
            last_line = (trial.error or "").strip().splitlines()[-1:]
            log.warning("trial %d failed: %s: %s", trial.number, trial.cause, " ".join(last_line)[-500:])
        elif trial.state == "PRUNED":
            because = f" ({trial.cause})" if trial.cause else ""
            log.info("trial %d pruned at epoch %d: %s %.4g%s", trial.number, trial.epoch, metric, trial.value, because)
        else:
            log.info(
                "trial %d complete: %s %.4g at epoch %s, %.1f s",
                trial.number, metric, trial.best_value, trial.best_epoch, trial.seconds,
            )  # fmt: skip


def _write_beside_checkpoint(trial: RunningTrial) -> None:
    """The configuration as `config.json`: from it and a checkpoint, a model can be rebuilt without the store."""
    path = trial.directory / "config.json"
    partial_file = path.with_suffix(".partial")
    try:
        partial_file.write_text(json.dumps(trial.config, indent=2) + "\n", encoding="utf-8")
        partial_file.replace(path)
    except OSError as error:
        log.warning("trial %d: %s cannot be written: %s", trial.number, path, error.strerror)
