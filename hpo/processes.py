"""The worker's side of the trial processes: a fork server, one server a study below it, and what they fork."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpo.channel import Channel, ChannelClosedError, Message
from hpo.errors import HpoError, LoadError, RunError, SpecError

SECONDS_FOR_AN_END = 2.0  # between a process's last word and the news of its end


@dataclass
class ForkedProcess:
    """A process that a fork server started for us: its channel, and its end when the server reports it."""

    channel: Channel
    pid: int | None = None
    status: int | None = None  # exit code, or minus the signal's number; None while it runs

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

    @staticmethod
    def start(environment: Mapping[str, str]) -> ForkServer:
        """A new server with torch and Lightning; it is `ready` some seconds later. Requests may be made at once."""
        control, theirs = Channel.pair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "hpo.training.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is the worker's business
            )
        return ForkServer(control, process)

    def fork(self, job: Message, *, with_spare: bool = False) -> ForkedProcess:
        """A process with this job.

        Args:
            with_spare: fork one more, which waits for the next job, so that the next trial need not wait for it.

        Raises:
            RunError: the server is gone.
        """
        try:
            process = self._spares.popleft() if self._spares else self._request()
            try:
                process.channel.send(job)
            except ChannelClosedError:  # a spare that somebody killed
                process = self._request()
                process.channel.send(job)
            if with_spare and not self._spares:
                self._spares.append(self._request())
        except ChannelClosedError as error:
            raise RunError("the process that starts trials has ended; its last words are above") from error
        return process

    def _request(self) -> ForkedProcess:
        channel, theirs = Channel.pair()
        with theirs:
            self.control.send({"fork": True}, descriptor=theirs.fileno())
        process = ForkedProcess(channel)
        self._unconfirmed.append(process)
        return process

    def serve_study(self, job: Message) -> tuple[ForkServer, Message]:
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
            classes = " and ".join(job["classes"].values())
            raise LoadError(f"importing {classes} ended the process that tried{end}") from error
        if "error" in answer or not answer["forks"]:
            self.poll()
            child.kill()
            child.channel.close()
        if "error" in answer:
            kinds: dict[str, type[HpoError]] = {"LoadError": LoadError, "SpecError": SpecError}
            raise kinds.get(answer["kind"], SpecError)(answer["error"])
        return (ForkServer(child.channel, child, ready=True) if answer["forks"] else self), answer["classes"]

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


def study_job(project: Path, classes: Mapping[str, str]) -> Message:
    """The job of a study's server: import these classes (by owner: model, data) from the project folder."""
    return {"kind": "study", "project": str(project), "classes": dict(classes)}
