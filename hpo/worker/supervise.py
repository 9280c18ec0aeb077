"""Supervision of running trials: requests for them and their study, time limits, and the drain of the worker."""

from __future__ import annotations

import math
import time

from hpo.queue.idle import KILLED, STOPPED
from hpo.queue.progress import BY_REQUEST, Progress
from hpo.study.budget import Budget
from hpo.study.states import AttemptEnd, Request, StudyState
from hpo.worker.decision import Requested
from hpo.worker.running_trial import RunningTrial

MINUTES_OF_RANKS = 10.0
SECONDS_TO_TELL = 1.0  # in which a process writes where it is
PREEMPTION = Requested(Request.PAUSE, AttemptEnd.PREEMPTED, AttemptEnd.PREEMPTED)


def take_request(trial: RunningTrial, own: Request | None, progress: Progress, *, is_draining: bool) -> None:
    """Set what is requested of the trial after its epoch, by its study, by its own request or by this worker's drain.

    Args:
        own: the request for this trial alone.
    """
    if progress.is_deleted:
        trial.is_dropped = True
    elif own == Request.KILL or progress.state == StudyState.KILLED:
        trial.fail(AttemptEnd.KILLED, f"{KILLED}: {BY_REQUEST}", f"{KILLED} {BY_REQUEST}")
    else:
        trial.requested = _requested(own, progress, is_draining=is_draining)


def _requested(own: Request | None, progress: Progress, *, is_draining: bool) -> Requested | None:
    if own == Request.STOP or progress.state == StudyState.STOPPED:
        return _stop((progress.reason or BY_REQUEST).splitlines()[0])
    if progress.limit is not None:
        return _stop(progress.limit)
    if is_draining:
        return PREEMPTION
    if own == Request.PAUSE or progress.state == StudyState.PAUSED:
        return Requested(Request.PAUSE, AttemptEnd.PAUSED, AttemptEnd.PAUSED)
    return None


def _stop(reason: str) -> Requested:
    return Requested(Request.STOP, AttemptEnd.DONE, f"{STOPPED}: {reason}")


def supervise(
    trial: RunningTrial, budget: Budget, *, drained_at: float | None, drain_seconds: float, is_rerun: bool = False
) -> None:
    """End a trial that is over its time, that hangs, or whose epoch takes longer than the worker's drain.

    Args:
        drained_at: monotonic seconds when the worker was asked to end; None before.
        drain_seconds: how long trials may then, and after their time, take to finish the epoch, and save their best.
        is_rerun: it trains one of the best trials of a search again.
    """
    if trial.is_ending:
        return
    now = time.monotonic()
    if drained_at is not None:
        trial.requested = PREEMPTION
        if now > drained_at + drain_seconds:
            trial.hand_back(AttemptEnd.PREEMPTED)
    over = trial.claim.seconds_before + trial.seconds - 60 * (budget.trial_minutes or math.inf)
    if over > 0:
        reason = f"over time: {budget.trial_minutes:g} minutes"
        if trial.requested is None or trial.requested.request != Request.STOP:
            trial.requested = Requested(Request.STOP, AttemptEnd.OVERTIME, reason, is_complete=is_rerun)
        if over > drain_seconds or not trial.epoch:
            trial.cut_off(AttemptEnd.OVERTIME, reason, is_rerun=is_rerun)
    # The setup may hang as well, for instance on a lost network file system.
    minutes = stall_minutes(budget, ranks=len(trial.processes))
    if now <= (trial.progress_at or trial.claimed_at) + 60 * minutes:
        trial.asked = 0
    elif trial.asked and now <= trial.asked_at + SECONDS_TO_TELL:
        return
    elif trial.asked < len(trial.processes):  # one after the other: what two write at once is mixed in the log
        trial.processes[trial.asked].tell_stacks()
        trial.asked += 1
        trial.asked_at = now
    else:
        what = "processes were" if len(trial.processes) > 1 else "process was"
        text = f"no step for {minutes:g} minutes; where its {what} is at the end of its log"
        trial.fail(AttemptEnd.STALLED, AttemptEnd.STALLED, text)


def stall_minutes(budget: Budget, *, ranks: int) -> float:
    """The time without a step after which a trial counts as hung: of several devices, less by default.

    One of these that hangs keeps all waiting, and none of them computes.
    """
    is_default = budget.stall_minutes == Budget.model_fields["stall_minutes"].default
    return MINUTES_OF_RANKS if ranks > 1 and is_default else budget.stall_minutes
