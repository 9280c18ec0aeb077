"""The messages of a trial's processes: each is validated and handled; an exit without a report is a crash."""

from __future__ import annotations

import contextlib
import logging
import signal
import time

from hpo.ipc.channel import Channel, ChannelClosedError
from hpo.ipc.fork_server import ForkedProcess
from hpo.ipc.incoming import InvalidMessageError, read_report
from hpo.ipc.messages import (
    EXIT_WITHOUT_CONNECTION,
    OUT_OF_MEMORY,
    UNWRITABLE,
    Alive,
    Done,
    Epoch,
    Failed,
    Probed,
    Report,
    Started,
    Trained,
    Training,
    Warned,
    message_of,
)
from hpo.queue.report import shortened
from hpo.study.states import AttemptEnd
from hpo.worker.oom_kills import oom_kills
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_run import StudyRun

# PyTorch, of a process of a data loader.
KILLED_LOADER = "is killed by signal: Killed"
UNREADABLE = "error: an unreadable report"
CLOSED = "closed its connection to the worker"
# A process that exits closes its channel before the server reports the exit, on a busy machine long before.
SECONDS_TO_EXIT = 5.0

log = logging.getLogger(__name__)


def take_messages(trial: RunningTrial, run: StudyRun) -> list[Channel]:
    """Handle the messages of the trial's processes, and kill those of a failed trial; the channels that have closed.

    Args:
        run: of the trial's study.
    """
    closed = []
    for process in trial.processes:
        messages, is_open = process.channel.receive_ready()
        problem = process.channel.garbled
        for message in messages:
            try:
                report = read_report(message)
            except InvalidMessageError as error:
                problem = str(error)
                break
            _take(report, trial, process, run)
        if problem is not None and process not in trial.done:
            trial.done.append(process)
            text = f"the trial process sent {problem}\nSomething in it writes into its connection to the worker."
            trial.fail(AttemptEnd.ERROR, UNREADABLE, shortened(text) or "")
        if not is_open:
            closed.append(process.channel)
            process.closed_at = process.closed_at or time.monotonic()
            if process.status is None and time.monotonic() > process.closed_at + SECONDS_TO_EXIT:
                _crash(trial, process, CLOSED)
        if process.has_lost_server and process not in trial.done:
            trial.done.append(process)
            trial.hand_back(AttemptEnd.PREEMPTED)
        elif process.status is not None and not trial.is_killed:
            _crash(trial, process, _cause_of_exit(process.status))
    if trial.is_to_be_killed:
        trial.is_killed = True
        for process in trial.processes:
            process.kill()  # one rank alone would wait for the others forever
    return closed


def _take(report: Report, trial: RunningTrial, process: ForkedProcess, run: StudyRun) -> None:
    if isinstance(report, Done | Failed):
        trial.done.append(process)
    if isinstance(report, Done) and report.takes_another:
        run.server.release(process)
    if isinstance(report, Failed) and report.cause == UNWRITABLE and not trial.is_dropped:
        trial.fail_to_write(shortened(report.reason) or "")
    if trial.is_ending and not (isinstance(report, Failed) and trial.awaits_cause):
        return
    trial.progress_at = time.monotonic()
    match report:
        case Started():
            run.on_started(trial, report)
        case Training(is_planned=is_planned, samples=samples):
            trial.is_planned = trial.is_planned or is_planned
            trial.samples, trial.trained_from = samples, trial.epoch
            trial.seconds_to_first_step = trial.seconds_to_first_step or trial.seconds
            log.debug("trial %d: first step %.3f s after its claim", trial.number, trial.seconds_to_first_step)
        case Epoch():
            with contextlib.suppress(ChannelClosedError):
                process.channel.send(message_of(run.on_epoch(trial, report)))
        case Probed():
            with contextlib.suppress(ChannelClosedError):
                process.channel.send(message_of(run.on_probed(trial, report)))
        case Trained():
            with contextlib.suppress(ChannelClosedError):
                process.channel.send(message_of(run.on_trained(trial)))
        case Alive():
            trial.reached, trial.step = report.reached, report.step
        case Failed(cause=cause, error=error):
            if KILLED_LOADER in error and _memory_ran_out(trial):
                cause = OUT_OF_MEMORY
            end = AttemptEnd.OUT_OF_MEMORY if cause == OUT_OF_MEMORY else AttemptEnd.ERROR
            trial.fail(end, shortened(cause) or end, shortened(error) or "")
        case Done(checkpoint_sha256=str(sha256)):
            trial.checkpoint_sha256 = sha256
        case Warned(text=text):
            log.warning("trial %d: %s", trial.number, text)


def _crash(trial: RunningTrial, process: ForkedProcess, cause: str) -> None:
    """The process has exited, or left its worker, without a report of its end."""
    if process in trial.done:
        return
    trial.done.append(process)
    rank = f" (rank {trial.processes.index(process)})" if len(trial.processes) > 1 else ""
    text = f"the trial process exited without reporting{rank}"
    if cause == CLOSED:
        text = (
            f"the trial process {CLOSED}{rank}: something in it closes file descriptors that it has not opened, as "
            "os.closerange and libraries that become a daemon do"
        )
    if process.status == -signal.SIGKILL and _memory_ran_out(trial):
        text = f"the kernel killed the trial process{rank}, because memory ran out"
        trial.fail(AttemptEnd.OUT_OF_MEMORY, OUT_OF_MEMORY, text, is_silent=True)
        return
    trial.fail(AttemptEnd.CRASH, cause, text, is_silent=True)


def _memory_ran_out(trial: RunningTrial) -> bool:
    """Whether the kernel has killed a process for its memory since the trial began."""
    return (oom_kills() or 0) > (trial.oom_kills or 0)


def _cause_of_exit(status: int) -> str:
    if status == EXIT_WITHOUT_CONNECTION:
        return CLOSED
    if status < 0:
        named = {member.value: member.name for member in signal.Signals}
        return f"killed: {named.get(-status, f'signal {-status}')}"
    return f"exited: code {status}"
