"""The end of a trial's log, and what comes to it: of one trial, or of all that run on this machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpo.errors import HpoError
from hpo.results.live import LiveTrial
from hpo.service.live import LiveReader
from hpo.service.trial_log import find_log
from hpo.store import Store
from hpo.study.states import StudyState

LINES_AT_FIRST, BYTES_AT_FIRST = 10, 64 * 1024
LOOK_SECONDS, READ_SECONDS = 1.0, 0.3  # between two looks into the store, and into the files


class LogTail:
    """A log from its last lines on.

    Args:
        lines: so many at first.
    """

    def __init__(self, path: Path, *, lines: int = LINES_AT_FIRST) -> None:
        self._path, self._lines = path, lines
        self._position: int | None = None
        self._rest = b""  # of a line that has not ended

    def read(self, *, is_last: bool = False) -> list[str]:
        """The lines that have come since; none where the file is gone.

        Args:
            is_last: also one that has not ended.
        """
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                at_first = self._position is None
                start = max(0, size - BYTES_AT_FIRST) if self._position is None else min(self._position, size)
                file.seek(start)
                text = self._rest + file.read()
                self._position = file.tell()
        except FileNotFoundError:
            return []
        *lines, self._rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if is_last and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        if at_first:
            lines = (lines[1:] if start else lines)[-self._lines :]
        return [line.decode(errors="replace") for line in lines]


def running_logs(
    store: Store, study: str, *, artifacts: Path, follow: bool, notify: Callable[[str], None]
) -> Iterator[tuple[int, str]]:
    """(trial, line): the ends of the logs of a study's running trials, and with `follow`, what comes to them.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.
        follow: until no trial of the study runs any more and none is to begin, or it was deleted.
        notify: called with a sentence for each trial whose log is not on this machine.

    Raises:
        HpoError: there is no such study, or, without `follow`, none of its trials runs, or none here.
    """
    reader, tails, told = LiveReader(store, study), dict[tuple[int, int], LogTail | None](), ""
    while True:
        view = reader.look()
        running = {(trial.number, trial.attempt): trial for trial in view.trials}
        for key in [key for key in tails if key not in running]:
            yield from _lines(key[0], tails.pop(key), is_last=True)
        for key, trial in running.items():
            if key not in tails and ((tail := _tail_of(store, trial, artifacts, notify)) or not _is_here(trial)):
                tails[key] = tail
        if not follow:
            if not running:
                waits = view.studies[0].waiting_for
                raise HpoError(
                    f"no trial of study '{study}' runs{f': {waits}' if waits else ''}. 'hpo logs {study} TRIAL' prints "
                    f"the log of one that has ended, and 'hpo trials {study}' lists them"
                )
            if not any(tails.values()):
                raise HpoError(f"this machine has no log of the trials of study '{study}' that run")
            for key, tail in sorted(tails.items(), key=lambda one: one[0]):
                yield from _lines(key[0], tail, is_last=True)
            return
        if not running:
            its = view.studies[0]
            if its.state not in (StudyState.RUNNING, StudyState.PAUSED):
                notify(f"study '{study}' is {its.state}")
                return
            if (waits := its.waiting_for or "") not in ("", told):
                told = waits
                notify(f"no trial of study '{study}' runs: {waits}")
        until = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < until:
            for (number, _), tail in tails.items():
                yield from _lines(number, tail)
            time.sleep(READ_SECONDS)


def _tail_of(store: Store, trial: LiveTrial, artifacts: Path, notify: Callable[[str], None]) -> LogTail | None:
    try:
        return LogTail(find_log(store, trial.study, trial.number, artifacts=artifacts).path)
    except HpoError as error:
        if not _is_here(trial):  # here, the file comes a moment after the claim
            notify(str(error))
        return None


def _is_here(trial: LiveTrial) -> bool:
    return trial.worker.rpartition(":")[0] == platform.node()


def _lines(number: int, tail: LogTail | None, *, is_last: bool = False) -> Iterator[tuple[int, str]]:
    if tail is not None:
        for line in tail.read(is_last=is_last):
            yield number, line
