"""How a trial ends: what is written of it, whether it is tried again, and which checkpoints stay."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from optuna.trial import TrialState
from sqlalchemy import Connection

from hpo import tally, writes
from hpo.spec import StudySpec
from hpo.store.tables import HELD
from hpo.studies import StoredStudy
from hpo.worker.runningtrial import BEST_CHECKPOINT, RESUME_CHECKPOINTS, RunningTrial
from hpo.worker.workplace import Workplace

log = logging.getLogger(__name__)


def end_trial(place: Workplace, study: StoredStudy, trial: RunningTrial, *, then: Callable[[], None]) -> None:
    """Write the trial's end into the store; stop the study when it was one failure too many.

    Args:
        then: is called when that is written: the study may have something to claim again, or be over.
    """
    if trial.is_dropped:
        _drop(place, trial)
    elif trial.back is not None:
        hand_back(place, trial, trial.back, then=then)
    else:
        _finish(place, study, trial, then)


def hand_back(place: Workplace, trial: RunningTrial, kind: str, *, then: Callable[[], None] = lambda: None) -> None:
    """End the attempt, not the trial: preempted, paused, or held at a rung.

    Args:
        then: is called when that is written.
    """
    seconds = trial.seconds
    place.outbox.put(
        lambda connection: writes.end_attempt(
            connection, trial.claim, kind=kind, cause=f"{kind}: handed back by its worker", seconds=seconds
        ),
        then=partial(_on_handed_back, place, trial, kind, then),
        now=True,
    )


def _finish(place: Workplace, study: StoredStudy, trial: RunningTrial, then: Callable[[], None]) -> None:
    if trial.state == "COMPLETE" and trial.best_value is None:
        trial.state, trial.kind, trial.cause = "FAIL", "error", "error: no epoch"
        trial.error = "training ended without an epoch: the data module gave no batches"
    is_kept = trial.state == "COMPLETE" and (trial.directory / BEST_CHECKPOINT).exists()
    seconds = trial.seconds
    value = {"COMPLETE": trial.best_value, "PRUNED": trial.value}.get(trial.state)
    retries = study.definition.spec.retries.of(trial.kind)

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

    place.outbox.put(write, then=partial(_on_finished, place, study, trial, value, then), now=True)


# ---- what follows when a write is in the store


def _on_handed_back(place: Workplace, trial: RunningTrial, kind: str, then: Callable[[], None], is_ours: bool) -> None:
    if not is_ours:
        _drop(place, trial)
        return
    place.history.release(trial.claim.trial_id, trial.number, is_held=kind == HELD)
    if kind == HELD:
        log.info("trial %d waits at epoch %d: %.4g", trial.number, trial.epoch, trial.value)
    else:
        log.info("trial %d handed back after epoch %d (%s)", trial.number, trial.epoch, kind)
    then()


def _on_finished(
    place: Workplace,
    study: StoredStudy,
    trial: RunningTrial,
    value: float | None,
    then: Callable[[], None],
    is_ours: bool,
) -> None:
    if not is_ours:
        _drop(place, trial)
        return
    if trial.is_retried:
        place.history.release(trial.claim.trial_id, trial.number)
        log.warning("trial %d: %s; it is tried again", trial.number, trial.cause)
        then()
        return
    place.history.end(trial.number, TrialState[trial.state], value, cause=trial.cause)
    _log_end(trial, study.definition.spec)
    unneeded = [*RESUME_CHECKPOINTS, *([BEST_CHECKPOINT] if trial.state != "COMPLETE" else [])]
    for name in unneeded:
        (trial.directory / name).unlink(missing_ok=True)
    if trial.state == "COMPLETE":
        _keep_best(place, study)
    elif trial.state == "FAIL":
        place.failures.add(study, trial.kind)
    then()


def _drop(place: Workplace, trial: RunningTrial) -> None:
    """Another worker has the trial now: forget our result."""
    place.history.release(trial.claim.trial_id, trial.number)
    log.warning("trial %d was taken over by another worker; this worker's result is dropped", trial.number)


def _keep_best(place: Workplace, study: StoredStudy) -> None:
    """Delete the checkpoints of trials that are no longer among the best, as far as they are on this machine."""
    spec = study.definition.spec
    ranked = tally.best_with_checkpoints(place.store, study.study_id, maximize=spec.goal.direction == "maximize")
    dropped = []
    for trial_id, _, checkpoint in ranked[spec.keep.checkpoints :]:
        if Path(checkpoint).exists():
            Path(checkpoint).unlink()
            dropped.append(trial_id)
    if dropped:
        place.outbox.put(lambda connection: writes.drop_checkpoints(connection, dropped))


def _log_end(trial: RunningTrial, spec: StudySpec) -> None:
    metric = spec.goal.metric
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
