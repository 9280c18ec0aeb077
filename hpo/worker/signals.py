"""The signals that end a worker: SIGTERM and the first Ctrl-C drain it, the second Ctrl-C ends it at once."""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)


class Signals:
    """The signals of one worker.

    Args:
        count_running: the number of trials that will be handed back, for the log.

    Attributes:
        drained_at: when it was first asked to end, by the monotonic clock; None before.
    """

    def __init__(self, count_running: Callable[[], int]) -> None:
        self.drained_at: float | None = None
        self._count_running = count_running
        self._wake: socket.socket | None = None

    @contextlib.contextmanager
    def handled(self, selector: selectors.BaseSelector) -> Iterator[None]:
        """Handle the signals; each of them also wakes the selector. Outside the main thread, Python delivers none."""
        self._wake, waking = socket.socketpair()
        self._wake.setblocking(False)
        waking.setblocking(False)
        selector.register(self._wake, selectors.EVENT_READ)
        if threading.current_thread() is not threading.main_thread():
            try:
                yield
            finally:
                self._wake.close()
                waking.close()
            return
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        wakeup = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._wake.close()
            waking.close()

    def clear_wakeups(self) -> None:
        """Read the wake-up bytes: unread, they would wake the selector without pause."""
        assert self._wake is not None
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)

    def _on_signal(self, number: int, _: object) -> None:
        if self.drained_at is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.drained_at = self.drained_at or time.monotonic()
        log.warning(
            "%s: handing back %d running trials after their epoch%s",
            signal.Signals(number).name,
            self._count_running(),
            "; Ctrl-C again ends them at once" if number == signal.SIGINT else "",
        )
