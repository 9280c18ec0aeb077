"""The end of a trial on its worker: its result is written, it may be retried, and unneeded checkpoints are deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import Connection

from hpo.errors import failure_in_words
from hpo.queue.best import unneeded_checkpoints
from hpo.queue.report import SAMPLES_PER_SECOND, end_attempt, finish_trial, forget_checkpoints, may_retry, shortened
from hpo.queue.studies import StoredStudy
from hpo.results.artifacts import Leftover, leftovers_of_ended
from hpo.study.artifacts import checkpoints_in, is_file
from hpo.study.constraints import as_attributes
from hpo.study.job import (
    BEST_CHECKPOINT,
    PREPROCESSING,
    PREVIOUS_CHECKPOINT,
    RESUME_CHECKPOINTS,
    training_folder,
)
from hpo.study.naming import trial_of_folder
from hpo.study.object_store import address_of
from hpo.study.spec import StudySpec
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.feasibility import measured_in_words
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_context import StudyContext
from hpo.worker.trainings import standard_error
from hpo.worker.trial_report import never_logged

log = logging.getLogger(__name__)


def end_trial(context: StudyContext, study: StoredStudy, trial: RunningTrial, *, then: Callable[[], None]) -> None:
    """Write the trial's end into the store; stop the study after too many failures.

    Args:
        then: called after the write: the study may have a trial to claim again, or be over.
    """
    if trial.unwritten is not None:
        context.folder.refuse(trial.unwritten)
    elif trial.epoch and not (trial.is_complete and trial.best_checkpoint is None):  # its weights were not written
        context.folder.recover()
    if trial.is_dropped:
        _drop(context, trial)
    elif trial.handed_back is not None:
        hand_back(context, trial, trial.handed_back, then=then)
    else:
        _finish(context, study, trial, then)


def hand_back(
    context: StudyContext, trial: RunningTrial, end: AttemptEnd, *, then: Callable[[], None] = lambda: None
) -> None:
    """End the attempt, not the trial: preempted, paused, or paused at a rung; its `cause` is stored, if it has one.

    Args:
        then: called after the write.
    """
    usage, checkpoint = trial.usage, trial.best_checkpoint
    context.outbox.put(
        lambda connection: end_attempt(
            connection,
            trial.claim,
            end=end,
            cause=trial.cause or _cause_of_return(end),
            **usage,
            checkpoint=None if checkpoint is None else address_of(checkpoint),
            checkpoint_sha256=trial.checkpoint_sha256,
        ),
        then=partial(_on_handed_back, context, trial, end, then),
        now=True,
        is_repeatable=False,
    )


def _finish(context: StudyContext, study: StoredStudy, trial: RunningTrial, then: Callable[[], None]) -> None:
    if trial.state == OptunaState.COMPLETE and trial.best_value is None:
        trial.state, trial.end, trial.cause = OptunaState.FAIL, AttemptEnd.ERROR, "error: no epoch"
        trial.error = "training ended without an epoch: the data module provided no batches"
        if trial.epoch:
            trial.cause = "error: no objective"
            metrics, after = study.resolved.spec.objectives.metrics, trial.unit.counted(trial.epoch)
            trial.error = never_logged(metrics, trial.metrics, after=after)
    checkpoint = None if trial.state == OptunaState.FAIL else trial.best_checkpoint
    usage = trial.usage
    values = _values(context, trial)
    retries = study.resolved.spec.retries.of(trial.end)

    def write(connection: Connection) -> bool:
        if trial.state == OptunaState.FAIL and may_retry(connection, trial.claim, end=trial.end, retries=retries):
            trial.is_retried = True
            cause = trial.cause or trial.end
            return end_attempt(connection, trial.claim, end=trial.end, cause=cause, error=trial.error, **usage)
        return finish_trial(
            connection,
            trial.claim,
            state=trial.state,
            values=values,
            **usage,
            end=trial.end,
            cause=trial.cause,
            error=trial.error,
            best_epoch=None if trial.state == OptunaState.FAIL else trial.best_epoch,
            checkpoint=None if checkpoint is None else address_of(checkpoint),
            checkpoint_sha256=None if checkpoint is None else trial.checkpoint_sha256,
            system_attributes=as_attributes(trial.violations),
            attributes={
                trial.unit.plural: trial.epoch,
                "seconds": round(usage["seconds"], 3),
                "parameters": trial.parameters,
                **({} if trial.memory is None else {"memory in MiB": round(trial.memory / 2**20)}),
                **({} if trial.samples_per_second is None else {SAMPLES_PER_SECOND: round(trial.samples_per_second)}),
                "device": trial.slot.device,
                **_of_trainings(trial),
                **measured_in_words(study.resolved.spec, trial),
                **({"cause": trial.cause} if trial.cause else {}),
                **({"error": shortened(trial.error)} if trial.error else {}),
            },
        )

    then = partial(_on_finished, context, study, trial, values, checkpoint, then)
    context.outbox.put(write, then=then, now=True, is_repeatable=False)


def _values(context: StudyContext, trial: RunningTrial) -> tuple[float, ...]:
    """Of each objective: after its best epoch, or after its last one if it was pruned; none of a failed trial."""
    score, reached = trial.score, trial.best_epoch
    if score is None:
        return ()
    if trial.state == OptunaState.PRUNED:
        reached = max((epoch for epoch in context.history.curve(trial.number) if epoch <= trial.epoch), default=None)
    return (score,) if reached is None else (score, *context.history.further(trial.number, reached))


def _of_trainings(trial: RunningTrial) -> dict[str, Any]:
    """What each fold or repeat has reached, and how sure the mean is."""
    if not trial.results:
        return {}
    error = standard_error(trial.results)
    name = "folds" if trial.config.get("folds") else "repeats"
    return {name: trial.results, **({} if error is None else {"standard error": error})}


def _cause_of_return(end: AttemptEnd) -> str:
    return "paused at a rung" if end == AttemptEnd.AT_RUNG else f"{end}: handed back by its worker"


# ---- callbacks after a write


def _on_handed_back(
    context: StudyContext, trial: RunningTrial, end: AttemptEnd, then: Callable[[], None], is_ours: bool
) -> None:
    if not is_ours:
        _drop(context, trial)
        return
    context.history.release(trial.claim.trial_id, trial.number, is_paused=end == AttemptEnd.AT_RUNG)
    if end == AttemptEnd.AT_RUNG:
        log.info("trial %d paused at its rung after %s %d: %.4g", trial.number, trial.unit, trial.epoch, trial.value)
    else:
        log.info("trial %d handed back after %s %d (%s)", trial.number, trial.unit, trial.epoch, end)
    then()


def _on_finished(
    context: StudyContext,
    study: StoredStudy,
    trial: RunningTrial,
    values: tuple[float, ...],
    checkpoint: Path | None,
    then: Callable[[], None],
    is_ours: bool,
) -> None:
    if not is_ours:
        _drop(context, trial)
        return
    if trial.is_retried:
        context.history.release(trial.claim.trial_id, trial.number)
        log.warning("trial %d: %s; it is retried", trial.number, trial.cause)
        then()
        return
    context.history.end(trial.number, optuna.trial.TrialState[trial.state], values, cause=trial.cause)
    _log_end(trial, study.resolved.spec, values)
    keeps_last = checkpoint is not None and study.resolved.spec.keep.last
    unneeded = [PREVIOUS_CHECKPOINT] if keeps_last else RESUME_CHECKPOINTS
    folders = [Path(training_folder(trial.directory, number)) for number in range(1, trial.trainings + 1)]
    context.folder.remove(*(folder / name for folder in folders for name in unneeded))
    if checkpoint is None:
        # Those of callbacks of a complete trial may be all that is left of it.
        is_complete = trial.state == OptunaState.COMPLETE
        best = [trial.directory / name for name in (BEST_CHECKPOINT, PREPROCESSING)]
        context.folder.remove(*(best if is_complete else checkpoints_in(trial.directory)))
    if checkpoint is not None:
        _keep_best(context, study)
    elif trial.state == OptunaState.FAIL:
        context.failures.add(study, trial.end)
    then()


def _drop(context: StudyContext, trial: RunningTrial) -> None:
    """Another worker has the trial now, or it was deleted: drop this worker's result."""
    context.history.release(trial.claim.trial_id, trial.number)
    log.warning("trial %d was taken over by another worker or deleted; this worker's result is dropped", trial.number)


def forget_ended(context: StudyContext, study: StoredStudy, numbers: Sequence[int]) -> None:
    """Delete what the idle trials of these numbers do not need any more, now that they have ended."""
    _remove(context, leftovers_of_ended(context.store, study.study_id, context.folder.path, numbers))


def unneeded(trial: RunningTrial, spec: StudySpec) -> Sequence[str]:
    """The files of an ended attempt that nobody will need, so that they are not sent anywhere."""
    is_over = trial.handed_back is None and trial.state != OptunaState.FAIL
    return RESUME_CHECKPOINTS if is_over and not spec.keep.last else ()


def _keep_best(context: StudyContext, study: StoredStudy) -> None:
    """Delete the checkpoints on this machine of ended trials that are not, or no longer, among the best."""
    spec = study.resolved.spec
    objectives, keep = spec.objectives, spec.keep.checkpoints
    dropped = []
    for trial_id, checkpoint in unneeded_checkpoints(context.store, study.study_id, objectives, keep=keep):
        folder = checkpoint.parent
        is_ours = folder.parent.name == context.folder.path.name and trial_of_folder(folder.name) is not None
        found = checkpoints_in(folder) if is_ours else [checkpoint] if is_file(checkpoint) else []
        is_remote = is_ours and context.folder.transfers.remove_checkpoints(folder)
        if checkpoint in context.folder.remove(*found) or is_remote:
            dropped.append(trial_id)
    _forget(context, dropped)


def _remove(context: StudyContext, leftovers: Sequence[Leftover]) -> None:
    gone = context.folder.remove(*(leftover.path for leftover in leftovers))
    _forget(context, [left.named_by for left in leftovers if left.named_by is not None and left.path in gone])


def _forget(context: StudyContext, trial_ids: Sequence[int]) -> None:
    if trial_ids:
        context.outbox.put(lambda connection: forget_checkpoints(connection, trial_ids))


def _log_end(trial: RunningTrial, spec: StudySpec, values: Sequence[float]) -> None:
    metric = spec.objective.metric
    if trial.end == AttemptEnd.REFUSED:  # told when it was
        return
    names = spec.objectives.further
    further = "".join(f", {name} {value:.4g}" for name, value in zip(names, values[1:], strict=False))
    if trial.state == OptunaState.FAIL:
        log.warning("trial %d failed: %s", trial.number, failure_in_words(trial.cause or "", trial.error)[-500:])
    elif trial.state == OptunaState.PRUNED:
        because = f" ({trial.cause})" if trial.cause else ""
        log.info(
            "trial %d pruned at %s %d: %s %.4g%s%s",
            trial.number, trial.unit, trial.epoch, metric, trial.value, further, because,
        )  # fmt: skip
    else:
        because = f" ({trial.cause})" if trial.cause else ""
        log.info(
            "trial %d complete: %s %.4g%s at %s %s, %.1f s%s",
            trial.number, metric, trial.score, further, trial.unit, trial.best_epoch, trial.seconds, because,
        )  # fmt: skip
