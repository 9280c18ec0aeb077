"""The worker's side of the trial processes: a fork server, one server a study below it, and what they fork."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo.errors import HpoError, LoadError, RunError, SpecError
from hpo.ipc.channel import Channel, ChannelClosedError, Message
from hpo.study.job import Job, StudyJob, job_message

log = logging.getLogger(__name__)

SECONDS_FOR_AN_END = 2.0  # between a process's last word and the news of its end
LONGEST_IDLE_SECONDS = 5.0  # for which a process that could do another job keeps its memory

# Of the C library, which reads it when a process starts: freed memory is kept for the next step. Given back and taken
# anew, its pages are cleared each time, and a CNN's step of large batches on a CPU takes up to twice as long. The
# first is the most that glibc takes.
MEMORY_IS_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}


# What a process computes on and for which study, where it may do another job of the same place; else None.
Place = tuple[Any, ...] | None


@dataclass
class ForkedProcess:
    """A job's process that a fork server started for us: its channel, and its end when the server reports it."""

    channel: Channel
    pid: int | None = None
    status: int | None = None  # exit code, or minus the signal's number; None while it runs
    place: Place = None
    is_released: bool = False  # it has done its job well, and waits for another under a new name
    idle_since: float = 0.0  # monotonic

    def kill(self) -> None:
        """End it and whatever it has started; harmless when it is gone."""
        if self.pid is not None and self.status is None:
            for kill in (os.killpg, os.kill):  # its own group exists from its first line of code on
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(self.pid, signal.SIGKILL)


@dataclass
class ForkServer:
    """One server process: forks on request, says who was forked and who has ended."""

    control: Channel
    owner: subprocess.Popen[bytes] | ForkedProcess
    ready: bool = False
    _unconfirmed: deque[ForkedProcess] = field(default_factory=deque)
    _running: dict[int, ForkedProcess] = field(default_factory=dict)
    _spares: deque[ForkedProcess] = field(default_factory=deque)  # forked, and waiting for a job
    _idle: list[ForkedProcess] = field(default_factory=list)  # that have done a job, and wait for another like it

    @staticmethod
    def start(environment: Mapping[str, str]) -> ForkServer:
        """A new server with torch and Lightning; it is `ready` some seconds later. Requests may be made at once."""
        control, theirs = Channel.pair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "hpo.training.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**MEMORY_IS_KEPT, **environment},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is the worker's business
            )
        return ForkServer(control, process)

    def fork(self, job: Job, *, with_spare: bool = False) -> ForkedProcess:
        """A process with this job: one that has done another like it, or a new one.

        Args:
            with_spare: fork one more, which waits for the next job, so that the next trial need not wait for it.

        Raises:
            RunError: the server is gone.
        """
        message = job_message(job)
        try:
            process = self._give_to_waiting(message, job.place)
            if process is None:
                process = self._request()
                process.channel.send(message)
            process.place = job.place
            if with_spare and not self._spares:
                self._spares.append(self._request())
        except ChannelClosedError as error:
            raise RunError("the process that starts trials exited; its last messages are above") from error
        return process

    def _give_to_waiting(self, job: Message, place: Place) -> ForkedProcess | None:
        """The process that has the job now; None where none waits for it."""
        like = [process for process in self._idle if process.place == place is not None]
        while like or self._spares:
            process = like.pop() if like else self._spares.popleft()
            if process in self._idle:
                self._idle.remove(process)
            try:
                process.channel.send(job)
            except ChannelClosedError:  # somebody has killed it
                process.channel.close()
                continue
            if process.status is None:
                return process
        return None

    def release(self, process: ForkedProcess) -> None:
        """The process has done its job, and says that it can do another: for whoever had it, it has ended."""
        self.poll()  # its number may just have come
        if process.pid not in self._running or process.is_released:
            process.channel.close()  # then it ends, which we are told
            return
        again = ForkedProcess(process.channel, process.pid, place=process.place, idle_since=time.monotonic())
        self._running[process.pid] = again
        self._idle.append(again)
        process.status, process.is_released = 0, True

    def _request(self) -> ForkedProcess:
        channel, theirs = Channel.pair()
        with theirs:
            self.control.send({"fork": True}, descriptor=theirs.fileno())
        process = ForkedProcess(channel)
        self._unconfirmed.append(process)
        return process

    def dismiss(self, *, idle_seconds: float = 0.0) -> None:
        """End the processes that have waited for another job for so long."""
        for process in list(self._idle):
            if time.monotonic() >= process.idle_since + idle_seconds:
                self._idle.remove(process)
                process.channel.close()

    def serve_study(self, job: StudyJob) -> tuple[ForkServer, Message]:
        """A server below this one that has imported the study's modules, and what it says of their classes.

        Waits for it. When its modules cannot survive a fork, trials are forked from this server instead.

        Raises:
            HpoError: the classes cannot be used; in the words of the process that tried.
        """
        child = self.fork(job)
        try:
            answer = child.channel.receive()
        except ChannelClosedError as error:
            end = self.end_of(child)
            child.channel.close()
            classes = " and ".join(job.classes.values())
            raise LoadError(f"importing {classes} ended the process that tried{end}") from error
        if "error" not in answer and not answer["threads"]:
            return ForkServer(child.channel, child, ready=True), answer["classes"]
        self.poll()
        child.kill()
        child.channel.close()
        if "error" in answer:
            kinds: dict[str, type[HpoError]] = {"LoadError": LoadError, "SpecError": SpecError}
            raise kinds.get(answer["kind"], SpecError)(answer["error"])
        if job.by_value:  # only forks of the child have its classes
            from hpo.study.by_value import refusal

            reason = (
                f"importing what it uses starts threads ({', '.join(answer['threads'])}), which do not survive a fork"
            )
            raise refusal(job.classes.values(), reason)
        log.info(
            "each process of a trial imports %s anew, which takes longer: it starts threads, which do not survive a "
            "fork (%s)",
            " and ".join(job.classes.values()),
            ", ".join(answer["threads"]),
        )
        return self, answer["classes"]

    def poll(self) -> bool:
        """Take in what the server has said, without waiting. False when it is gone, and all its processes with it."""
        messages, is_open = self.control.receive_ready()
        for message in messages:
            if "forked" in message:
                process = self._unconfirmed.popleft()
                process.pid = message["forked"]
                self._running[message["forked"]] = process
            elif "exited" in message:
                self._running.pop(message["exited"]).status = message["status"]
            elif "ready" in message:
                self.ready = True
            elif "failed" in message:
                raise RunError(f"torch and Lightning cannot be imported:\n{message['failed']}")
        self.dismiss(idle_seconds=LONGEST_IDLE_SECONDS)
        if not is_open:
            for process in [*self._running.values(), *self._unconfirmed]:
                process.kill()
                process.status = -signal.SIGKILL
            self._running.clear()
            self._unconfirmed.clear()
        return is_open

    def end_of(self, process: ForkedProcess) -> str:
        """How a process ended that has closed its channel, in brackets; empty when the server does not say in time."""
        deadline = time.monotonic() + SECONDS_FOR_AN_END
        while process.status is None and self.poll() and time.monotonic() < deadline:
            select.select([self.control], [], [], 0.1)
        if process.status is None:
            return ""
        return f" (signal {-process.status})" if process.status < 0 else f" (exit code {process.status})"

    def stop(self) -> None:
        """End the server; it takes its processes with it."""
        self.control.close()
        for process in [*self._running.values(), *self._unconfirmed]:
            process.channel.close()
        if isinstance(self.owner, subprocess.Popen):
            if not self.ready:
                self.owner.kill()  # it is still importing, and would go on for seconds
            try:
                self.owner.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.owner.kill()
                self.owner.wait()
