"""The ends of logs, and what comes to them: of one trial, or of all that run."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from hpo.errors import HpoError, NotFoundError
from hpo.results.live import LiveTrial, LiveView
from hpo.service.live import LiveReader
from hpo.service.studies import Studies
from hpo.service.trial_log import find_log
from hpo.store import Store
from hpo.study.states import StudyState

LINES_AT_FIRST, BYTES_AT_FIRST = 10, 64 * 1024
LOOK_SECONDS, READ_SECONDS = 1.0, 0.3  # between two looks into the store, and into the files


class Piece(NamedTuple):
    """A part of a log, from the place that was asked for to the end that it had.

    Attributes:
        is_begin: it begins with the log.
        end: in bytes from the log's beginning.
    """

    is_begin: bool
    data: bytes
    end: int


ReadLog = Callable[[int], Piece]  # from so many bytes on; below 0 from the end


class LogTail:
    """A log from its last lines on.

    Args:
        log: its file, or what reads it.
        lines: so many at first.
    """

    def __init__(self, log: Path | ReadLog, *, lines: int = LINES_AT_FIRST) -> None:
        self._read = partial(_read_file, log) if isinstance(log, Path) else log
        self._lines = lines
        self._position: int | None = None
        self._rest = b""  # of a line that has not ended

    def read(self, *, is_last: bool = False) -> list[str]:
        """The lines that have come since; none where the log is gone.

        Args:
            is_last: also one that has not ended.
        """
        at_first = self._position is None
        try:
            piece = self._read(-BYTES_AT_FIRST if self._position is None else self._position)
        except (FileNotFoundError, NotFoundError):
            return []
        self._position = piece.end
        text = (self._rest + piece.data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = text.split(b"\n")
        if is_last and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        if at_first:
            lines = (lines if piece.is_begin else lines[1:])[-self._lines :]
        return [line.decode(errors="replace") for line in lines]


def _read_file(path: Path, offset: int) -> Piece:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.seek(max(0, size + offset) if offset < 0 else min(offset, size))
        data = file.read()
        return Piece(start == 0, data, file.tell())


class RunningLogs(Protocol):
    """Where the running trials of a study, and their logs, are read from.

    Attributes:
        seconds: between two looks into the logs.
    """

    seconds: float

    def look(self) -> LiveView:
        """What goes on now, in this study."""

    def tail(self, trial: LiveTrial) -> LogTail | None:
        """The log of a running trial; None where there is none, or not yet."""


class LogsHere:
    """The logs of this machine.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.
        notify: called with a sentence for each trial whose log is not on this machine.
    """

    seconds = READ_SECONDS

    def __init__(self, store: Store, study: str, *, artifacts: Path, notify: Callable[[str], None]) -> None:
        self.look = LiveReader(store, study).look
        self._store, self._artifacts, self._notify = store, artifacts, notify
        self._told = set[tuple[int, int]]()

    def tail(self, trial: LiveTrial) -> LogTail | None:
        if (trial.number, trial.attempt) in self._told:
            return None
        try:
            return LogTail(find_log(self._store, trial.study, trial.number, artifacts=self._artifacts).path)
        except HpoError as error:
            if trial.worker.rpartition(":")[0] != platform.node():  # here, the file comes a moment after the claim
                self._told.add((trial.number, trial.attempt))
                self._notify(str(error))
            return None


class LogsOfServer:
    """The logs that a server's machine has; of other trials nothing is told."""

    seconds = LOOK_SECONDS

    def __init__(self, studies: Studies, study: str) -> None:
        self._studies, self._study = studies, study

    def look(self) -> LiveView:
        return self._studies.live(self._study)

    def tail(self, trial: LiveTrial) -> LogTail | None:
        try:
            self._studies.log(trial.study, trial.number, -1)
        except NotFoundError:
            return None
        return LogTail(partial(self._read, trial.number))

    def _read(self, number: int, offset: int) -> Piece:
        data, is_last = b"", False
        while not is_last:  # a server answers with a part of bounded size
            part = self._studies.log(self._study, number, offset)
            data, offset, is_last = data + part.text.encode(), part.next_offset, part.is_last
        return Piece(offset <= len(data), data, offset)


def running_logs(
    logs: RunningLogs, study: str, *, follow: bool, notify: Callable[[str], None]
) -> Iterator[tuple[int, str]]:
    """(trial, line): the ends of the logs of a study's running trials, and with `follow`, what comes to them.

    Args:
        follow: until no trial of the study runs any more and none is to begin, or it was deleted.
        notify: called with sentences about what keeps trials from running.

    Raises:
        HpoError: there is no such study, or, without `follow`, none of its trials runs, or none has a log there.
    """
    tails, told = dict[tuple[int, int], LogTail](), ""
    while True:
        view = logs.look()
        running = {(trial.number, trial.attempt): trial for trial in view.trials}
        for key in [key for key in tails if key not in running]:
            yield from _lines(key[0], tails.pop(key), is_last=True)
        for key, trial in running.items():
            if key not in tails and (tail := logs.tail(trial)) is not None:
                tails[key] = tail
        if not follow:
            if not running:
                waits = view.studies[0].waiting_for
                raise HpoError(
                    f"no trial of study '{study}' runs{f': {waits}' if waits else ''}. 'hpo logs {study} TRIAL' prints "
                    f"the log of one that has ended, and 'hpo trials {study}' lists them"
                )
            if not tails:
                raise HpoError(f"the machine that was asked has no log of the trials of study '{study}' that run")
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
            time.sleep(logs.seconds)


def _lines(number: int, tail: LogTail, *, is_last: bool = False) -> Iterator[tuple[int, str]]:
    for line in tail.read(is_last=is_last):
        yield number, line
