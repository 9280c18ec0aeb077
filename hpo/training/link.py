"""The trial's side of its channel to the worker."""

from __future__ import annotations

import contextlib
import os
import queue
import threading

from hpo.channel import Channel, ChannelClosedError, Message


class Link:
    """The trial's side of the channel. A thread reads it, so that the trial ends when its worker does.

    Attributes:
        trial: the number of the trial that is spoken of.
    """

    def __init__(self, channel: Channel) -> None:
        self.trial = -1
        self._channel = channel
        self._sending = threading.Lock()  # a long message goes in pieces, and another thread may speak as well
        self._replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="worker link", daemon=True).start()

    def tell(self, message: Message) -> None:
        with self._sending, contextlib.suppress(ChannelClosedError):  # the listening thread ends the process
            self._channel.send({"trial": self.trial, **message})

    def ask(self, message: Message) -> Message:
        self.tell(message)
        return self.next()

    def next(self) -> Message:
        """What the worker says next; waits for it."""
        return self._replies.get()

    def _listen(self) -> None:
        try:
            while True:
                self._replies.put(self._channel.receive())
        except ChannelClosedError:
            # Also in the middle of an epoch: nobody is there to take the result.
            os._exit(1)
