"""The start of a claimed trial: its parameters are sampled and stored, and its processes get their jobs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import optuna
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from hpo.errors import RunError
from hpo.queue.claim import Claim
from hpo.queue.idle import attempts_ended
from hpo.queue.report import begin_trial, finish_trial, losses_before, trainings_before
from hpo.queue.studies import StoredStudy
from hpo.results.warm_start import Weights
from hpo.search.algorithms import derive_seed
from hpo.search.grid import fixed_point
from hpo.search.lessons import OUTSIDE
from hpo.study.devices import Slot
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.jobs import trainings_of, trial_jobs
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_context import StudyContext
from hpo.worker.trial_end import hand_back
from hpo.worker.trial_report import restore_progress

log = logging.getLogger(__name__)


def start_trial(
    context: StudyContext, study: StoredStudy, claim: Claim, *, slot: Slot, weights: Weights, claimed_at: float
) -> RunningTrial | None:
    """Start the claimed trial; None when it has ended already, or is handed back.

    Args:
        weights: the checkpoints that `find_weights` found for the study.
        claimed_at: monotonic seconds.
    """
    context.history.adopt(claim.number, is_new=claim.is_new)
    try:
        return _start(context, study, claim, slot=slot, weights=weights, claimed_at=claimed_at)
    except SQLAlchemyError:  # no answer: the trial is handed back as soon as there is one
        context.history.release(claim.trial_id, claim.number)
        raise


def _start(
    context: StudyContext, study: StoredStudy, claim: Claim, *, slot: Slot, weights: Weights, claimed_at: float
) -> RunningTrial | None:
    resolved = study.resolved
    params = claim.params
    if params is None:
        params = _sample(context, resolved, claim)
    if params is None:
        return None
    config = _config(study, params, number=claim.number, weights=weights)
    if claim.params is None:
        stored = context.history.params_to_store(claim.number)
        attributes = context.history.attributes_to_store(claim.number)
        try:
            with context.store.write() as connection:
                is_ours = begin_trial(
                    connection, claim, params=stored, config=config, seed=config["seed"], system_attributes=attributes
                )
        except IntegrityError:  # its study is being deleted
            is_ours = False
        if not is_ours:  # this worker stalled for longer than a lease, or the study was deleted
            context.history.release(claim.trial_id, claim.number)
            log.warning("trial %d was taken over by another worker or deleted before it began", claim.number)
            return None
    if claim.attempt > 1 and resolved.spec.retries.accumulate:
        with context.store.read() as connection:
            failed = attempts_ended(connection, claim.trial_id, AttemptEnd.OUT_OF_MEMORY)
        config |= {"parts": 2**failed} if failed else {}
    trial = RunningTrial(
        claim=claim,
        slot=slot,
        epochs=config.get("stop_after") or config[resolved.spec.unit.plural],
        config=config,
        directory=context.folder.trial(claim.number),
        claimed_at=claimed_at,
        trainings=trainings_of(config),
    )
    if claim.attempt > 1:
        with context.store.read() as connection:
            trial.losses = losses_before(connection, claim.trial_id)
            trial.results = trainings_before(connection, claim.trial_id) if trial.trainings > 1 else []
        trial.training = len(trial.results) + 1
        trial.violations = context.history.violations(claim.number)
    if claim.is_promoted:
        trial.granted = max(context.history.curve(claim.number), default=0)
    # It may run out of time before its first epoch here: then it ends with the values of earlier attempts.
    restore_progress(context, resolved.spec, trial)
    if context.folder.make(claim.number, attempt=claim.attempt) is None:
        trial.cause = context.folder.obstacle
        hand_back(context, trial, AttemptEnd.PAUSED)
        return None
    trial.jobs = trial_jobs(
        resolved,
        config,
        trial=claim.number,
        slot=slot,
        project=context.project,
        directory=trial.directory,
        attempt=claim.attempt,
        training=trial.training,
        is_tracked=True,
    )
    if (parts := config.get("parts", 1)) > 1:
        size = {2: "half", 4: "a quarter"}.get(parts, f"1/{parts}")
        log.info("trial %d: %d batches of %s of the size make a step, since memory ran out", claim.number, parts, size)
    if not context.folder.transfers.is_ready(trial.directory):
        return trial  # its processes start when its files are here
    return trial if begin_trial_processes(context, trial) else None


def begin_trial_processes(context: StudyContext, trial: RunningTrial) -> bool:
    """Start the processes of a trial; false when it was handed back, because they cannot be started."""
    claim, slot = trial.claim, trial.slot
    try:
        trial.processes = [context.server.fork(job, with_spare=True) for job in trial.jobs]
    except RunError:  # the worker notices in a moment, and starts the server again
        hand_back(context, trial, AttemptEnd.PREEMPTED)
        return False
    attempt = f", attempt {claim.attempt}" if claim.attempt > 1 else ""
    log.info("trial %d started on slot %d (%s)%s", claim.number, slot.number, slot.device, attempt)
    return True


def _sample(context: StudyContext, resolved: ResolvedStudy, claim: Claim) -> dict[str, Any] | None:
    """The trial's parameters; None when it was enqueued with a point outside of the space, and has failed."""
    space = resolved.space
    try:
        point = fixed_point(resolved.spec, space, claim.number)
        params = context.history.suggest(claim.number, space, point=point)
        problem = None if space.contains(params) else f"{params} is not in the study's space"
    except (ValueError, KeyError) as error:
        params, problem = {}, str(error)
    if problem is None:
        return params
    log.warning("trial %d failed: %s: %s", claim.number, OUTSIDE, problem)
    with context.store.write() as connection:
        finish_trial(
            connection,
            claim,
            state=OptunaState.FAIL,
            seconds=0.0,
            end=AttemptEnd.ERROR,
            cause=OUTSIDE,
            error=problem,
        )
    context.history.end(claim.number, optuna.trial.TrialState.FAIL)
    return None


def _config(study: StoredStudy, params: Mapping[str, Any], *, number: int, weights: Weights) -> dict[str, Any]:
    """The whole configuration of a trial, pinned and inactive parameters too."""
    resolved, spec = study.resolved, study.resolved.spec
    config: dict[str, Any] = {
        "params": params,
        **resolved.sections(params),
        spec.unit.plural: resolved.epochs(params),
        "seed": derive_seed(spec.seed, number, "trial"),
        **spec.judged_by,
    }
    planned = {} if study.plan is None else study.plan.config(number)
    return config | planned | ({"weights": weights} if weights else {})
