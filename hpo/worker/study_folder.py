"""A study's folder on its worker: while it cannot be written no trial is claimed, and running trials go on.

It is tried again after pauses that grow with each failure and are jittered, since workers that share a disk should not
come back together. Only a trial that ends without trouble with the disk makes them short again: a folder in which a
trial can begin may still have no room for what the trial writes.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from pathlib import Path

from hpo.errors import SpecError
from hpo.study.artifacts import remove, size_of
from hpo.study.folder_mark import mark_folder
from hpo.study.naming import trial_folder
from hpo.study.writable import check_writable, error_in_words
from hpo.worker.transfers import Transfers

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
WARN_EVERY_SECONDS = 60.0


class StudyFolder:
    """The folder of one study, with a folder per trial.

    Args:
        study: its name.
        store: its URL without a password, which marks the folder.
        transfers: with the object store that the folder mirrors, if it does.

    Attributes:
        obstacle: why no trial begins in it, in words; None while nothing is known to be wrong.
        freed: bytes of what was removed, since no trial needs it any more.
    """

    def __init__(self, path: Path, *, study: str, store: str, transfers: Transfers | None = None) -> None:
        self.path = path
        self.transfers = transfers or Transfers(None)
        self.obstacle: str | None = None
        self.freed = 0
        self._study = study
        self._store = store
        self._pause = FIRST_PAUSE_SECONDS
        self._next_try = 0.0  # monotonic
        self._warned_at = float("-inf")
        self._is_told = False  # that it cannot be written

    def trial(self, number: int) -> Path:
        """The folder of a trial."""
        return self.path / trial_folder(number)

    def is_ready(self) -> bool:
        """Whether a trial may be claimed: the folder can be written, as far as that shows before there is a trial.

        Raises:
            SpecError: the name of the study is too long for this disk.
        """
        if time.monotonic() < self._next_try:
            return False
        try:
            check_writable(self._existing())
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise SpecError(
                    f"the disk of {self.path.parent} has no room for names as long as {self.path.name}: "
                    f"'hpo rename {self._study} SHORTER' gives the study another one"
                ) from error
            self.refuse(error_in_words(error))
            return False
        return True

    def _existing(self) -> Path:
        """The study's folder, or the one that it will be in: it is made for a claimed trial only.

        The study may have been deleted a moment ago, and its folder must not come back.
        """
        try:
            self.path.stat()
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.parent
        return self.path

    def make(self, number: int, *, attempt: int) -> Path | None:
        """Make the folder of a claimed trial, for an attempt; None when that fails."""
        folder = self.trial(number)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mark_folder(self.path, self._store)
            self.transfers.begin(folder, attempt=attempt)
        except OSError as error:
            self.refuse(error_in_words(error))
            return None
        return folder

    def refuse(self, reason: str, *, obstacle: str | None = None) -> None:
        """The disk has failed: no trial is claimed until a pause is over, which is longer each time.

        Args:
            reason: in words.
            obstacle: what it keeps the worker from, in words; by default to write into this folder.
        """
        now = time.monotonic()
        self.obstacle = f"{obstacle or f'files cannot be written in {self.path}'} ({reason})"
        if now < self._next_try:  # the trials of other slots failed for the same reason
            return
        self._next_try = now + self._pause * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._is_told |= self.warn(f"{self.obstacle}: no trial begins until they can, and running trials go on")

    def recover(self) -> None:
        """A trial has ended without trouble with the disk: pauses are short again, unless nothing can be written."""
        if self.obstacle is None:
            return
        try:
            check_writable(self._existing())
        except OSError:  # the trial had nothing to write
            return
        if self._is_told:
            log.info("study %s: files can be written in %s again", self._study, self.path)
        self.obstacle, self._pause, self._is_told = None, FIRST_PAUSE_SECONDS, False

    def remove(self, *files: Path) -> list[Path]:
        """Remove files that no trial needs any more; those that are gone. What cannot be removed is left, and told."""
        gone = []
        self.transfers.remove(files)
        for file in files:
            size = size_of(file)
            try:
                remove(file)
            except OSError as error:
                reason = error.strerror or error
                self.warn(f"{file} cannot be removed ({reason}): nothing needs it, and 'hpo clean' removes it later")
            else:
                gone.append(file)
                self.freed += size
        return gone

    def warn(self, text: str) -> bool:
        """Log a warning, unless there was one within the last minute; whether it was logged."""
        now = time.monotonic()
        if now - self._warned_at < WARN_EVERY_SECONDS:
            return False
        self._warned_at = now
        log.warning("study %s: %s", self._study, text)
        return True
