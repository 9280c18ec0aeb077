"""The worker's side of the trial processes: the fork server, its child server for each study, and their forks."""

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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from hpo.errors import HpoError, LoadError, RunError, SpecError
from hpo.ipc.channel import Channel, ChannelClosedError, Message
from hpo.study.job import TELLS_STACKS, Job, Place, StudyJob, TrialJob, job_message

log = logging.getLogger(__name__)

EXIT_REPORT_SECONDS = 2.0  # from a process closing its channel to the server's report of its exit
LONGEST_IDLE_SECONDS = 5.0  # for which an idle process keeps its memory
LIBRARIES_OF_RANKS = ("torch._dynamo",)  # torch's DistributedDataParallel imports it, which takes a second

# The C library reads these when a process starts: freed memory is kept for the next step. Returned to the system and
# allocated anew, its pages are cleared each time, and a CNN's step of large batches on a CPU takes up to twice as
# long. The first value is the largest that glibc accepts.
MEMORY_IS_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}


@dataclass
class ForkedProcess:
    """The process of a job, forked by the server: its channel, and its exit status once the server reports it."""

    channel: Channel
    pid: int | None = None
    status: int | None = None  # exit code, or minus the signal's number; None while it runs
    place: Place | None = None  # None for a process that is used once
    is_released: bool = False  # it has done its job, and is idle under a new `ForkedProcess`
    idle_since: float = 0.0  # monotonic
    closed_at: float | None = None  # monotonic, when its end of the channel was found closed
    has_lost_server: bool = False  # its server exited, and it was ended with it

    def tell_stacks(self) -> None:
        """Have it write where each of its threads is into its trial's log; no effect when it has exited."""
        if self.pid is not None and self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, TELLS_STACKS)

    def kill(self) -> None:
        """Kill it and the processes it has started; no effect when it has exited."""
        if self.pid is not None and self.status is None:
            for kill in (os.killpg, os.kill):  # it makes its own group in its first line of code
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(self.pid, signal.SIGKILL)


@dataclass
class ForkServer:
    """One server process: it forks on request, and reports each fork and each exit.

    Attributes:
        restart: starts another process in place of one that has exited, see `start_again`.
    """

    control: Channel
    owner: subprocess.Popen[bytes] | ForkedProcess
    restart: Callable[[], ForkServer]
    ready: bool = False
    _unconfirmed: deque[ForkedProcess] = field(default_factory=deque)
    _running: dict[int, ForkedProcess] = field(default_factory=dict)
    _spares: deque[ForkedProcess] = field(default_factory=deque)  # forked in advance, without a job yet
    _idle: list[ForkedProcess] = field(default_factory=list)  # done with a job, free for another of the same place

    @staticmethod
    def start(environment: Mapping[str, str]) -> ForkServer:
        """A new server with torch and Lightning, which is `ready` some seconds later; it accepts requests at once."""
        control, theirs = Channel.pair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "hpo.training.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**MEMORY_IS_KEPT, **environment},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # only the worker handles the terminal's Ctrl-C
            )
        return ForkServer(control, process, restart=lambda: ForkServer.start(environment))

    def start_again(self) -> None:
        """Replace the server process, which has exited; a study's imports its modules again, and this waits for them.

        Raises:
            HpoError: these cannot be imported any more.
        """
        another = self.restart()
        self._spares.clear()
        self._idle.clear()
        self.control, self.owner, self.ready = another.control, another.owner, another.ready

    def fork(self, job: Job, *, with_spare: bool = False) -> ForkedProcess:
        """A process with this job: an idle one of the same place, a spare, or a new one.

        Args:
            with_spare: fork one more in advance, so that the next trial need not wait for the fork.

        Raises:
            RunError: the server has exited.
        """
        message = job_message(job)
        try:
            process = self._give_to_existing(message, job.place)
            if process is None:
                process = self._request(
                    imports=LIBRARIES_OF_RANKS if isinstance(job, TrialJob) and job.ranks > 1 else ()
                )
                process.channel.send(message)
            process.place = job.place
            if with_spare and not self._spares:
                self._spares.append(self._request())
        except ChannelClosedError as error:
            raise RunError("the process that starts trials exited; its last messages are above") from error
        return process

    def _give_to_existing(self, job: Message, place: Place | None) -> ForkedProcess | None:
        """Send the job to an idle process of its place, or to a spare one; None if there is neither."""
        like = [process for process in self._idle if process.place == place is not None]
        while like or self._spares:
            process = like.pop() if like else self._spares.popleft()
            if process in self._idle:
                self._idle.remove(process)
            try:
                process.channel.send(job)
            except ChannelClosedError:  # it was killed
                process.channel.close()
                continue
            if process.status is None:
                return process
        return None

    def release(self, process: ForkedProcess) -> None:
        """Make a process idle that has reported that it can do another job; its previous user sees it as ended."""
        self.poll()  # its pid may just have arrived
        if process.pid not in self._running or process.is_released:
            process.channel.close()  # then it exits, which the server reports
            return
        again = ForkedProcess(process.channel, process.pid, place=process.place, idle_since=time.monotonic())
        self._running[process.pid] = again
        self._idle.append(again)
        process.status, process.is_released = 0, True

    def _request(self, *, imports: Sequence[str] = ()) -> ForkedProcess:
        channel, theirs = Channel.pair()
        with theirs:
            self.control.send({"imports": [*imports]}, descriptor=theirs.fileno())
        process = ForkedProcess(channel)
        self._unconfirmed.append(process)
        return process

    def idle_on(self, devices: Collection[str]) -> list[ForkedProcess]:
        """The idle processes of jobs that used one of these devices."""
        return [
            process for process in self._idle if process.place and not set(process.place.devices).isdisjoint(devices)
        ]

    def dismiss(self, processes: Iterable[ForkedProcess]) -> None:
        """End these idle processes."""
        for process in list(processes):
            self._idle.remove(process)
            process.channel.close()

    def serve_study(self, job: StudyJob) -> tuple[ForkServer, Message]:
        """A child server that has imported the study's modules, and its description of them, see `describe`.

        Waits for it. When its modules do not survive a fork, trials are forked from this server instead.

        Raises:
            HpoError: the classes cannot be used; with the message of the process that imported them.
        """
        child = self.fork(job)
        try:
            answer = child.channel.receive()
        except ChannelClosedError as error:
            end = self.end_of(child)
            child.channel.close()
            classes = " and ".join(job.classes.values())
            raise LoadError(f"importing {classes} ended the importing process{end}") from error
        if "error" not in answer and not answer["unforkable"]:
            return ForkServer(child.channel, child, restart=partial(self._serve_again, job), ready=True), answer
        self.poll()
        child.kill()
        child.channel.close()
        if "error" in answer:
            kinds: dict[str, type[HpoError]] = {"LoadError": LoadError, "SpecError": SpecError}
            raise kinds.get(answer["kind"], SpecError)(answer["error"])
        if job.by_value:  # only forks of the child have its classes
            from hpo.study.by_value import refusal

            raise refusal(job.classes.values(), f"its imports {answer['unforkable']}")
        log.info(
            "each trial process imports %s anew, which takes longer: these imports %s",
            " and ".join(job.classes.values()),
            answer["unforkable"],
        )
        return self, answer

    def _serve_again(self, job: StudyJob) -> ForkServer:
        if not self.poll():
            self.start_again()
        return self.serve_study(job)[0]

    def poll(self) -> bool:
        """Read the server's messages without waiting. False when it has exited, and all its processes with it."""
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
                if message["readable"]:
                    log.info("trials could read the store's password in its file, because %s", message["readable"])
            elif "failed" in message:
                raise RunError(f"torch and Lightning cannot be imported:\n{message['failed']}")
        longest = time.monotonic() - LONGEST_IDLE_SECONDS
        self.dismiss([process for process in self._idle if process.idle_since <= longest])
        if not is_open:
            for process in [*self._running.values(), *self._unconfirmed]:
                process.kill()
                process.status, process.has_lost_server = -signal.SIGKILL, True
            self._running.clear()
            self._unconfirmed.clear()
        return is_open

    def end_of(self, process: ForkedProcess) -> str:
        """The exit status, in brackets, of a process that closed its channel; empty if none is reported in time."""
        deadline = time.monotonic() + EXIT_REPORT_SECONDS
        while process.status is None and self.poll() and time.monotonic() < deadline:
            select.select([self.control], [], [], 0.1)
        if process.status is None:
            return ""
        return f" (signal {-process.status})" if process.status < 0 else f" (exit code {process.status})"

    def stop(self) -> None:
        """End the server and all its processes."""
        self.control.close()
        for process in [*self._running.values(), *self._unconfirmed]:
            process.channel.close()
        if isinstance(self.owner, subprocess.Popen):
            if not self.ready:
                self.owner.kill()  # it is still importing, and would continue for seconds
            try:
                self.owner.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.owner.kill()
                self.owner.wait()
