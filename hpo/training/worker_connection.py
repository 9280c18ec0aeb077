"""The trial's side of its channel to the worker."""

from __future__ import annotations

import contextlib
import os
import queue
import threading

from hpo.ipc.channel import Channel, ChannelClosedError, Message
from hpo.ipc.messages import Answer, Epoch, Report, message_of
from hpo.study.job import TrialJob, job_of


class WorkerConnection:
    """The trial's side of the channel. A thread reads it, so that the trial ends when its worker does.

    Attributes:
        trial: the number of the present trial, sent with each report.
    """

    def __init__(self, channel: Channel) -> None:
        self.trial = -1
        self._channel = channel
        self._sending = threading.Lock()  # a long message is sent in pieces, and another thread may send as well
        self._replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="worker connection", daemon=True).start()

    def send(self, report: Report) -> None:
        """Send a report; nothing happens if the worker has exited, which ends this process soon."""
        with self._sending, contextlib.suppress(ChannelClosedError):  # the listening thread ends the process
            self._channel.send({"trial": self.trial, **message_of(report)})

    def ask(self, report: Epoch) -> Answer:
        """Report an epoch, and wait for the worker's answer."""
        self.send(report)
        return Answer(**self._replies.get())

    def next_job(self) -> TrialJob:
        """The next trial for this process; waits for it."""
        job = job_of(self._replies.get())
        assert isinstance(job, TrialJob), job
        return job

    def _listen(self) -> None:
        try:
            while True:
                self._replies.put(self._channel.receive())
        except ChannelClosedError:
            # Also in the middle of an epoch: there is no worker to receive the result.
            os._exit(1)
