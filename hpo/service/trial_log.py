"""The log of a trial: where it is on this machine, and what comes to it while the trial goes on."""

from __future__ import annotations

import codecs
import io
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from hpo.errors import NotFoundError
from hpo.queue.progress import find_study
from hpo.queue.rename import named_checkpoints
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store
from hpo.store.tables import hpo_studies
from hpo.study.artifacts import folders_of, homes_of
from hpo.study.job import LOG
from hpo.study.naming import study_folder, trial_folder
from hpo.study.object_store import fetch_trial
from hpo.study.states import TrialState
from hpo.study.trial_log import left_out_of

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
READ_SECONDS = 0.3  # between two looks into the file
PART_BYTES = 1 << 20  # of a log, in one answer
LOOK_SECONDS = 1.0  # between two looks into the store


@dataclass(frozen=True)
class TrialLog:
    """A trial's log on this machine.

    Attributes:
        trial: as the store had it.
        path: of the file, to which all attempts on this machine add.
    """

    trial: TrialRecord
    path: Path

    @property
    def left_out(self) -> int:
        """Bytes that were left out of its middle, since a log is bounded."""
        with self.path.open("rb") as file:
            return left_out_of(file.fileno())

    def text(self) -> str:
        """All of it; what a progress bar writes over each other is a line each."""
        return self.path.read_text(encoding="utf-8", errors="replace")


def find_log(store: Store, study: str, number: int, *, artifacts: Path) -> TrialLog:
    """The log of a trial.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.

    Raises:
        NotFoundError: there is no such study or trial, the trial has not begun, or its log is not on this machine;
            names the worker that has it.
    """
    record, folder = trial_on_this_machine(store, study, number, artifacts=artifacts)
    if folder is not None and (folder / LOG).is_file():
        return TrialLog(record, folder / LOG)
    if record.attempts == 0:
        why = "waits for a worker" if record.state == TrialState.WAITING else "ended before it began"
        raise NotFoundError(f"trial {number} of study '{study}' {why}: it has no log")
    raise NotFoundError(
        f"trial {number} of study '{study}' has no log on this machine: it was trained by {record.worker}. "
        f"Looked in {artifacts}; ask there, or name the folder with --artifacts"
    )


def trial_on_this_machine(store: Store, study: str, number: int, *, artifacts: Path) -> tuple[TrialRecord, Path | None]:
    """A trial, and its folder on this machine; None when this machine has none.

    Raises:
        NotFoundError: there is no such study or trial.
    """
    study_id, _ = find_study(store, study)
    record = Study(store, study).trial(number)
    if record is None:
        raise NotFoundError(f"study '{study}' has no trial {number}; 'hpo trials {study}' lists those it has")
    with store.read() as connection:
        created = connection.scalar(select(hpo_studies.c.created).where(hpo_studies.c.study_id == study_id))
        checkpoints = named_checkpoints(connection, study_id)
    if created is None:  # of another program
        return record, None
    name = study_folder(study, created)
    for home in homes_of(artifacts, name, checkpoints.values()):
        fetch_trial(home / name / trial_folder(number))
    found = folders_of(artifacts, name, checkpoints.values())
    return record, next((path for home in found if (path := home / trial_folder(number)).is_dir()), None)


@dataclass(frozen=True)
class LogPart:
    """A part of a trial's log.

    Attributes:
        state: of the trial.
        path: of the file, on the machine that has it.
        left_out: bytes that were left out of its middle.
        next_offset: in bytes, where the next part begins.
        is_last: there was no more when this was read.
    """

    state: TrialState
    path: str
    left_out: int
    text: str
    next_offset: int
    is_last: bool


def read_log(store: Store, study: str, number: int, *, artifacts: Path, offset: int = 0) -> LogPart:
    """At most PART_BYTES of a trial's log, whole characters.

    Args:
        offset: in bytes, from its beginning; below 0 from its end.

    Raises:
        NotFoundError: see `find_log`.
    """
    log = find_log(store, study, number, artifacts=artifacts)
    with log.path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size + offset) if offset < 0 else min(offset, size))
        data = file.read(PART_BYTES)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    is_last = start + len(data) >= size
    text = decoder.decode(data, final=is_last and log.trial.state in ENDED)
    end = start + len(data) - len(decoder.getstate()[0])
    return LogPart(log.trial.state, str(log.path), log.left_out, text, end, is_last)


def wait_for_log(store: Store, study: str, number: int, *, artifacts: Path, notify: Callable[[str], None]) -> TrialLog:
    """`find_log`, for a trial that may still have to begin.

    Args:
        notify: called once, with a sentence, if the trial has not begun.

    Raises:
        NotFoundError: see `find_log`.
    """
    is_told = False
    while True:
        try:
            return find_log(store, study, number, artifacts=artifacts)
        except NotFoundError:
            record = Study(store, study).trial(number)
            if record is None or not (record.state == TrialState.WAITING or _has_just_begun(record)):
                raise
        if not is_told:
            notify(f"trial {number} of study '{study}' has not begun; waiting for it")
            is_told = True
        time.sleep(READ_SECONDS)


def follow_log(store: Store, study: str, log: TrialLog, *, notify: Callable[[str], None]) -> Iterator[str]:
    """The log from its beginning, and all that comes to it until the trial has ended.

    Attempts that follow on this machine write into the same file.

    Args:
        notify: called, with a sentence, when another machine continues the trial, or the log was shortened.
    """
    watched, worker, next_look, record = Study(store, study), log.trial.worker, 0.0, log.trial
    # a character, or the end of a line, may be written in two parts
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    with log.path.open("rb") as file:
        while True:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + LOOK_SECONDS
                found = watched.trial(record.number)
                if found is None:
                    yield decoder.decode(file.read(), final=True)
                    notify(f"study '{study}' was deleted")
                    return
                record = found
            if file.tell() > (size := os.fstat(file.fileno()).st_size):
                notify("the log was too long and was shortened: some lines of this moment may be missing here")
                file.seek(size)
            is_over = record.state in ENDED
            if part := decoder.decode(file.read(), final=is_over):
                yield part
            if is_over:
                return
            if record.worker != worker:
                worker = record.worker
                if _host(worker) != _host(log.trial.worker):
                    notify(f"trial {record.number} goes on at {worker}, which has the rest of its log")
            time.sleep(READ_SECONDS)


def _has_just_begun(record: TrialRecord) -> bool:
    """Whether this machine trains it, and has not got to the log: the file comes a moment after the claim."""
    is_here = _host(record.worker) == platform.node()
    return is_here and record.state == TrialState.RUNNING and record.attempts == 1 and not record.curve


def _host(worker: str | None) -> str:
    return (worker or "").rpartition(":")[0]
