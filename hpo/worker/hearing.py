"""What a trial's processes say, or fail to say: each message is passed on, a death without a word is a crash."""

from __future__ import annotations

import contextlib
import logging
import signal
import time

from hpo.channel import Channel, ChannelClosedError, Message
from hpo.messages import problem_of
from hpo.processes import ForkedProcess
from hpo.worker.runningtrial import RunningTrial
from hpo.worker.studyrun import StudyRun
from hpo.writes import shortened

UNREADABLE = "error: an unreadable report"

log = logging.getLogger(__name__)


def hear(trial: RunningTrial, run: StudyRun) -> list[Channel]:
    """Take in what the trial's processes have said, and end those that wait in vain; the channels that are at an end.

    Args:
        run: of the trial's study.
    """
    at_end = []
    for process in trial.processes:
        messages, is_open = process.channel.receive_ready()
        problem = process.channel.garbled
        for message in messages:
            if wrong := problem_of(message):
                problem = wrong
                break
            _take(message, trial, process, run)
        if problem is not None and process not in trial.done:
            trial.done.append(process)
            error = f"the trial process told {problem}\nSomething in it writes into its connection to the worker."
            trial.fail("error", UNREADABLE, shortened(error) or "")
        if not is_open:
            at_end.append(process.channel)
        if process.status is not None and not trial.is_killed and process not in trial.done:
            trial.done.append(process)
            rank = f" (rank {trial.processes.index(process)})" if len(trial.processes) > 1 else ""
            error = f"the trial process ended without a word{rank}"
            trial.fail("crash", _cause_of_exit(process.status), error, is_silent=True)
    if trial.is_to_be_killed:
        trial.is_killed = True
        for process in trial.processes:
            process.kill()  # one rank alone would wait for the others for ever
    return at_end


def _take(message: Message, trial: RunningTrial, process: ForkedProcess, run: StudyRun) -> None:
    if message["kind"] in ("done", "failed"):
        trial.done.append(process)
    if message["kind"] == "done" and message["takes_another"]:
        run.server.release(process)
    if trial.is_ending:
        return
    trial.progress_at = time.monotonic()
    match message["kind"]:
        case "started":
            run.on_started(trial, message)
        case "training":
            trial.seconds_to_first_step = trial.seconds_to_first_step or trial.seconds
            log.debug("trial %d trains %.3f s after its claim", trial.number, trial.seconds_to_first_step)
        case "epoch":
            with contextlib.suppress(ChannelClosedError):
                process.channel.send(run.on_epoch(trial, message))
        case "failed":
            kind = "oom" if message["cause"] == "out of memory" else "error"
            trial.fail(kind, shortened(message["cause"]) or kind, shortened(message["error"]) or "")
        case "warning":
            log.warning("trial %d: %s", trial.number, message["text"])


def _cause_of_exit(status: int) -> str:
    if status < 0:
        named = {member.value: member.name for member in signal.Signals}
        return f"killed: {named.get(-status, f'signal {-status}')}"
    return f"exited: code {status}"
