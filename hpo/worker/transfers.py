"""The traffic of a worker with the object store of its artifacts, beside its loop: nothing here waits for a transfer.

What a trial has written is uploaded while it trains, for a small share of the time at most, and a last time before its
end is written into the store, so that whoever goes on with it finds it. An attempt that goes on gets the files first.
Where the artifacts are a folder, there is nothing to do.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hpo.errors import ObjectStoreError
from hpo.study.artifacts import is_checkpoint
from hpo.study.folder_mark import MARK
from hpo.study.object_store import Identity, ObjectStore, note_attempt

log = logging.getLogger(__name__)

FIRST_UPLOAD_SECONDS = 5.0  # after the attempt's begin
LEAST_PAUSE_SECONDS = 2.0
SHARE_OF_TIME = 0.02  # of an attempt, that uploads take at most while it trains
THREADS = 4
CLOSING_SECONDS = 30.0


@dataclass
class _Trial:
    """The traffic of one attempt.

    Attributes:
        sent: the files that were uploaded, as they were.
        download, upload: the transfer in progress, or the last one.
        next_upload: monotonic seconds.
        is_last: the upload in progress is the one before the attempt's end.
    """

    folder: Path
    attempt: int
    next_upload: float
    sent: dict[Path, Identity] = field(default_factory=dict)
    download: Future[list[Path]] | None = None
    upload: Future[float] | None = None
    is_last: bool = False


class Transfers:
    """The uploads and downloads of one worker.

    Args:
        store: the object store; None where the artifacts are a folder.
    """

    def __init__(self, store: ObjectStore | None) -> None:
        self.store = store
        self._trials: dict[Path, _Trial] = {}
        self._marked: set[Path] = set()  # folders of studies
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="transfers") if store is not None else None
        self._removals: list[Future[None]] = []

    def begin(self, folder: Path, *, attempt: int) -> None:
        """An attempt of a trial begins; what earlier ones have written elsewhere is fetched, see `is_ready`.

        Raises:
            OSError: the folder cannot be written.
        """
        if self.store is None or self._pool is None:
            return
        trial = _Trial(folder, attempt, time.monotonic() + FIRST_UPLOAD_SECONDS)
        self._trials[folder] = trial
        if attempt == 1:
            note_attempt(folder, attempt)
        else:
            trial.download = self._pool.submit(self._fetch, folder, attempt)

    def is_ready(self, folder: Path) -> bool:
        """Whether the trial's files are here, so that its processes may start.

        Raises:
            OSError: they cannot be written.
        """
        trial = self._trials.get(folder)
        if trial is None or trial.download is None:
            return True
        if not trial.download.done():
            return False
        done, trial.download = trial.download, None
        try:
            written = done.result()
        except ObjectStoreError as error:
            log.warning("trial %s: what it wrote elsewhere could not be fetched: %s", folder.name, error)
        else:
            if written:
                log.info("trial %s: fetched %s", folder.name, ", ".join(path.name for path in written))
        note_attempt(folder, trial.attempt)
        return True

    def forget(self, folder: Path) -> None:
        """The attempt has ended."""
        self._trials.pop(folder, None)

    def upload_some(self, folders: Iterable[Path]) -> None:
        """Upload what these running trials have written, where it is time to."""
        now = time.monotonic()
        for folder in folders:
            trial = self._trials.get(folder)
            if trial is None or trial.download is not None or now < trial.next_upload:
                continue
            if trial.upload is not None and not trial.upload.done():
                continue
            if trial.upload is not None:
                self._judge(trial)
                if now < trial.next_upload:
                    continue
            trial.upload = self._submit(trial, ())

    def is_sent(self, folder: Path, *, without: Collection[str] = ()) -> bool:
        """Whether all that an ended attempt has written is uploaded, or cannot be; call it until it is.

        Args:
            without: names of files that nobody needs any more.
        """
        trial = self._trials.get(folder)
        if trial is None:
            return True
        if trial.upload is not None and not trial.upload.done():
            return False
        if not trial.is_last:
            trial.is_last, trial.upload = True, self._submit(trial, without)
            return False
        self._judge(trial)
        self.forget(folder)
        return True

    def remove(self, paths: Collection[Path]) -> None:
        """Remove the objects that mirror these files or folders, some time later."""
        if self.store is not None and self._pool is not None and paths:
            self._removals = [removal for removal in self._removals if not _told(removal)]
            self._removals.append(self._pool.submit(self.store.remove, list(paths)))

    def remove_checkpoints(self, folder: Path) -> bool:
        """Remove the objects of a trial's checkpoints, some time later; false where there is no object store."""
        if self.store is None or self._pool is None:
            return False
        self._removals.append(self._pool.submit(self._remove_checkpoints, folder))
        return True

    def close(self) -> None:
        """Upload what ended attempts have written, for some seconds at most, and end."""
        if self._pool is None:
            return
        end = time.monotonic() + CLOSING_SECONDS
        while self._trials and time.monotonic() < end:
            for folder in list(self._trials):
                self.is_sent(folder)
            time.sleep(0.05)
        self._pool.shutdown(wait=not self._trials, cancel_futures=True)
        for removal in self._removals:
            _told(removal)

    def _fetch(self, folder: Path, attempt: int) -> list[Path]:
        assert self.store is not None
        self.store.begin(folder, attempt)
        return self.store.download(folder)

    def _remove_checkpoints(self, folder: Path) -> None:
        assert self.store is not None
        self.store.remove(path for path in self.store.sizes(folder) if is_checkpoint(path))

    def _submit(self, trial: _Trial, without: Collection[str]) -> Future[float]:
        assert self._pool is not None
        return self._pool.submit(self._upload, trial, without)

    def _upload(self, trial: _Trial, without: Collection[str]) -> float:
        """The seconds that it took."""
        assert self.store is not None
        started = time.monotonic()
        if (home := trial.folder.parent) not in self._marked:
            self.store.mark(home / MARK)
            self._marked.add(home)
        self.store.upload(trial.folder, trial.sent, attempt=trial.attempt, without=without)
        return time.monotonic() - started

    def _judge(self, trial: _Trial) -> None:
        """Say how an upload has ended, and when there is to be another one."""
        assert trial.upload is not None
        done, trial.upload = trial.upload, None
        seconds = 0.0
        with _told_of(trial):
            seconds = done.result()
        pause = max(LEAST_PAUSE_SECONDS, seconds / SHARE_OF_TIME)
        trial.next_upload = time.monotonic() + pause


@contextlib.contextmanager
def _told_of(trial: _Trial) -> Iterator[None]:
    try:
        yield
    except (ObjectStoreError, OSError) as error:
        what = "goes on there without what it has written since the last upload" if trial.is_last else "is tried again"
        log.warning("trial %s: an upload failed, and %s: %s", trial.folder.name, what, error)


def _told(removal: Future[None]) -> bool:
    if not removal.done():
        return False
    if (error := removal.exception()) is not None:
        log.warning("what no trial needs any more could not be removed, and 'hpo clean' removes it later: %s", error)
    return True
