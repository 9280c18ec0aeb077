"""What is asked of a trial that trains: by its study and by name, by the clock, and by a worker that is to end."""

from __future__ import annotations

import time

from hpo.spec import Budget
from hpo.tally import Progress
from hpo.worker.runningtrial import RunningTrial

# A worker that is asked to end lets its trials finish their epoch, for this long; preemption grants about 30 s.
DRAIN_SECONDS = 20.0


def take_wish(trial: RunningTrial, own: str | None, progress: Progress, *, is_draining: bool) -> None:
    """What the study, the trial's own wish and this worker's end mean for the trial.

    Args:
        own: what is wished of this trial alone: pause, stop or kill.
    """
    if own == "kill" or progress.state == "killed":
        trial.fail("killed", "killed: by request", "killed by request")
    elif own == "stop" or progress.state == "stopped":
        trial.wish, trial.wish_cause = "stop", f"stopped: {(progress.reason or 'by request').splitlines()[0]}"
    elif progress.limit is not None:
        trial.wish, trial.wish_cause = "stop", f"stopped: {progress.limit}"
    elif is_draining:
        trial.wish, trial.wish_cause = "pause", "preempted"
    elif own == "pause" or progress.state == "paused":
        trial.wish, trial.wish_cause = "pause", "paused"
    else:
        trial.wish = trial.wish_cause = None


def judge(trial: RunningTrial, budget: Budget, *, drained_at: float | None) -> None:
    """End a trial that takes too long, that no longer moves, or that cannot wait for its epoch's end.

    Args:
        drained_at: monotonic seconds when the worker was asked to end; None while it is not.
    """
    if trial.is_ending:
        return
    now = time.monotonic()
    if drained_at is not None:
        trial.wish, trial.wish_cause = "pause", "preempted"
        if now > drained_at + DRAIN_SECONDS:
            trial.hand_back("preempted")
    minutes = (trial.claim.seconds_before + trial.seconds) / 60
    if budget.trial_minutes is not None and minutes > budget.trial_minutes:
        trial.end_with_what_it_has("overtime", f"over time: {budget.trial_minutes:g} minutes")
    # A set-up may hang as well, at a file system that is gone.
    if now > (trial.progress_at or trial.claimed_at) + 60 * budget.stall_minutes:
        trial.fail("stalled", "stalled", f"no step for {budget.stall_minutes:g} minutes")
