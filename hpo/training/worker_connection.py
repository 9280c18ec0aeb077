"""The trial's side of its channel to the worker."""

from __future__ import annotations

import os
import queue
import select
import threading

from hpo.ipc.channel import Channel, ChannelClosedError, Message
from hpo.ipc.messages import EXIT_WITHOUT_CONNECTION, Answer, Epoch, Probed, Report, Trained, message_of
from hpo.study.job import TrialJob, job_of

# A socket that one thread closes stays open as long as another one waits for it: it may wait for so long.
SECONDS_BETWEEN_LOOKS = 2.0


class WorkerConnection:
    """The trial's side of the channel. A thread reads it, so that the trial ends when its worker does.

    It also ends the process when something in it has closed the channel, such as a library that closes all file
    descriptors: the worker would wait for its reports for ever.

    Attributes:
        trial: the number of the present trial, sent with each report.
    """

    def __init__(self, channel: Channel) -> None:
        self.trial = -1
        self._channel = channel
        self._socket = channel.fileno(), _identity(channel.fileno())
        self._sending = threading.Lock()  # a long message is sent in pieces, and another thread may send as well
        self._replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="worker connection", daemon=True).start()

    def send(self, report: Report) -> None:
        """Send a report; ends the process if the worker has exited, or if the channel was closed in this process."""
        with self._sending:
            if not self._is_open():
                os._exit(EXIT_WITHOUT_CONNECTION)
            try:
                self._channel.send({"trial": self.trial, **message_of(report)})
            except ChannelClosedError:
                os._exit(EXIT_WITHOUT_CONNECTION)

    def ask(self, report: Epoch | Probed | Trained) -> Answer:
        """Report an epoch, what one batch showed or the end of a training, and wait for the worker's answer."""
        self.send(report)
        return Answer(**self._replies.get())

    def next_job(self) -> TrialJob:
        """The next trial for this process; waits for it."""
        job = job_of(self._replies.get())
        assert isinstance(job, TrialJob), job
        return job

    def _listen(self) -> None:
        waiting = select.poll()
        waiting.register(self._socket[0], select.POLLIN)
        while True:
            arrived = waiting.poll(1000 * SECONDS_BETWEEN_LOOKS)
            if not self._is_open():
                os._exit(EXIT_WITHOUT_CONNECTION)
            if not arrived:
                continue
            messages, can_follow = self._channel.receive_ready()
            for message in messages:
                self._replies.put(message)
            if not can_follow:
                # Also in the middle of an epoch: there is no worker to receive the result.
                os._exit(1)

    def _is_open(self) -> bool:
        """Whether the descriptor is still the channel's: a closed one's number is given to the next file."""
        number, identity = self._socket
        return _identity(number) == identity


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
