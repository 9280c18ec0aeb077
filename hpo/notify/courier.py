"""Sends what waits in the store, in a thread of its own: a worker's loop never waits for a receiver.

A notification is leased, sent to each target that does not have it, and settled. Whoever dies in between leaves the
lease to run out, and another one sends it again to those targets of which nothing was written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import DeliveryError, StoreError
from hpo.notify.deliver import SECONDS, deliver
from hpo.notify.message import title_of
from hpo.queue.notifications import MOST_TRIES, note_delivered, seconds_until_due, settle, take
from hpo.store import Store, StoreUrl
from hpo.store.engine import is_outage, open_engine

log = logging.getLogger(__name__)

OUTAGE_SECONDS = 2.0  # between two tries to write what was sent
LOOK_SECONDS = 0.5  # between two looks at what is due later


class Courier:
    """Sends the notifications of one store.

    Args:
        project: folder in which commands run, and where relative paths start.
    """

    def __init__(self, url: StoreUrl, project: Path) -> None:
        self._url = url
        self._project = project
        self._thread: threading.Thread | None = None
        self._until: float | None = None  # monotonic: wait so long for what is due later

    def wake(self) -> None:
        """Something is due: send it, unless that is being done."""
        if self._thread is None or not self._thread.is_alive():
            # Not waited for by the interpreter: a thread of a pool would keep a worker from ending.
            self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
            self._thread.start()

    def finish(self, seconds: float) -> None:
        """Send what is due, or will be, within some seconds; what is left is sent by others, and that is logged."""
        self._until = time.monotonic() + seconds
        if self._thread is not None:
            self._thread.join(seconds)
        self.wake()
        assert self._thread is not None
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if self._thread.is_alive():
            log.warning(
                "a notification was not sent within %g s: another worker, or 'hpo notify send', does it", seconds
            )

    def _run(self) -> None:
        try:
            with Store(self._url, open_engine(self._url)) as store:  # its own: the loop's connections are two
                store.patience.seconds = store.timing.answer
                while True:
                    send_due(store, self._project, persist=self._persist)
                    pause = None if self._until is None else seconds_until_due(store)
                    if pause is None or self._until is None or time.monotonic() + pause > self._until:
                        return
                    time.sleep(min(pause + 0.05, LOOK_SECONDS))  # another one may be sending it meanwhile
        except (StoreError, SQLAlchemyError) as error:  # the loop tells of an outage; its next poll wakes this again
            log.debug("notifications wait for the store: %s", type(error).__name__)

    def _persist(self, write: Callable[[], None]) -> None:
        """Write what was sent, also after an outage, since it is sent again otherwise."""
        while True:
            try:
                return write()
            except SQLAlchemyError as error:
                is_over = self._until is not None and time.monotonic() > self._until
                if not is_outage(error) or is_over:
                    raise
                time.sleep(OUTAGE_SECONDS)


def send_due(
    store: Store, project: Path, *, persist: Callable[[Callable[[], None]], None] = lambda write: write()
) -> list[str]:
    """Send all that is due now; a line for each try of a target.

    Args:
        persist: calls the function that writes what was sent.
    """
    lines = []
    lease = SECONDS + store.timing.lease
    while (taken := take(store, seconds=lease)) is not None:
        errors = []
        for target in taken.targets:
            what = f"'{title_of(taken.content)}' to {target.place}"
            try:
                deliver(target, taken.content, project=project, password=store.url.password)
            except DeliveryError as error:
                errors.append(f"{target.place}: {error}")
                again = "" if taken.tries >= MOST_TRIES else "; it is tried again"
                lines.append(f"could not send {what}: {error}{again}")
                log.warning("%s", lines[-1])
                continue
            lines.append(f"sent {what}")
            log.info("%s", lines[-1])
            persist(partial(note_delivered, store, taken, target))
        persist(partial(settle, store, taken, errors))
    return lines
