"""What ends a worker: a signal or a time limit drains it, a second Ctrl-C ends it at once.

SIGTERM, SIGUSR1 and SIGUSR2 drain alike: clusters send one or another before they take a machine back.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

from hpo.printable import counted

log = logging.getLogger(__name__)

DRAINING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """The signals of one worker, and its time limit.

    Args:
        count_running: the number of trials that will be handed back, for the log.
        drain_at: when it drains without a signal, by the monotonic clock; None for never.

    Attributes:
        drained_at: when it was first asked to end, by the monotonic clock; None before.
    """

    def __init__(self, count_running: Callable[[], int], *, drain_at: float | None = None) -> None:
        self.drained_at: float | None = None
        self._drain_at = drain_at
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
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, *DRAINING)}
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
        more = "; Ctrl-C again ends them at once" if number == signal.SIGINT else ""
        self._drain(signal.Signals(number).name, more)

    def check_time(self) -> None:
        """Drain when the time limit is near."""
        if self._drain_at is not None and self.drained_at is None and time.monotonic() >= self._drain_at:
            self._drain("the time limit is near")

    def _drain(self, reason: str, more: str = "") -> None:
        self.drained_at = self.drained_at or time.monotonic()
        trials = counted(self._count_running(), "running trial")
        log.warning("%s: handing back %s after their epoch%s", reason, trials, more)
