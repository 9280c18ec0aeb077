"""The output of a trial process, which goes into the trial's log, bounded in size.

A disk that takes no more of it costs the output and not the training: what cannot be written is dropped, and the worker
is told once a trial.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo.study.trial_log import MOST_BYTES, shorten

# What a native library or a child process prints is only noticed so often.
SECONDS_BETWEEN_LOOKS = 0.5
_BYTES_BETWEEN_LOOKS = MOST_BYTES // 8

# Held while this process writes into its log or shortens it, so that nothing it prints is lost between the two. A fork
# waits for it: a child would find it locked for ever.
_writing = threading.RLock()
os.register_at_fork(before=_writing.acquire, after_in_parent=_writing.release, after_in_child=_writing.release)


class TrialOutput:
    """The standard output and error of this process, which are redirected for each of its trials.

    Args:
        warn: called once a trial, from any thread, when its output cannot be written.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._log: Path | None = None
        self._problem: OSError | None = None  # of this trial
        self._is_told = False
        self._unlooked = 0  # bytes written since the log's size was looked at
        self._shortening = threading.Lock()
        # The former streams stay open as sys.__stdout__ and sys.__stderr__: they have the same descriptors.
        sys.stdout, sys.stderr = self._stream(1), self._stream(2)
        threading.Thread(target=self._look, name="log", daemon=True).start()

    def redirect(self, log: str | None) -> None:
        """Redirect the output to a trial's log, away from the worker's screen.

        Raises:
            OSError: the log cannot be opened; the output is dropped.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        self._problem, self._is_told = None, False
        failed: OSError | None = None
        self._log = None if log is None else Path(log)
        try:
            target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            failed, target = error, os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.close(target)
        _quieten_libraries()
        if failed is not None:
            raise failed

    def flush(self) -> None:
        """Write what is buffered, bound the log, and tell the worker if anything of it could not be written."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._shorten()
        self._tell()

    def _tell(self) -> None:
        if self._problem is not None and not self._is_told:
            self._is_told = True
            self._warn(f"its log could not be written: {self._problem.strerror}")

    def _stream(self, descriptor: int) -> io.TextIOWrapper:
        file = _Lenient(descriptor, self._wrote)
        return io.TextIOWrapper(
            io.BufferedWriter(file), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )

    def _wrote(self, count: int, problem: OSError | None) -> None:
        self._problem = self._problem or problem
        self._unlooked += count
        if self._unlooked > _BYTES_BETWEEN_LOOKS:
            self._shorten()

    def _look(self) -> None:
        pause = threading.Event()
        while not pause.wait(SECONDS_BETWEEN_LOOKS):
            self._shorten()
            self._tell()

    def _shorten(self) -> None:
        self._unlooked = 0
        if self._log is None or not self._shortening.acquire(blocking=False):
            return
        try:
            with contextlib.suppress(OSError):  # another process of the trial does it, or the next look is soon
                if os.fstat(1).st_size > MOST_BYTES:
                    self._shorten_locked(self._log)
        finally:
            self._shortening.release()

    def _shorten_locked(self, log: Path) -> None:
        fcntl.flock(1, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the trial's other processes write into it as well
        try:
            with _writing:
                shorten(log)
        except FileNotFoundError:
            if os.fstat(1).st_nlink == 0:  # removed with its folder: nobody would see that it grows
                _drop()
        finally:
            fcntl.flock(1, fcntl.LOCK_UN)


class _Lenient(io.FileIO):
    """A file that drops what cannot be written."""

    def __init__(self, descriptor: int, wrote: Callable[[int, OSError | None], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._wrote = wrote

    def write(self, data: Any, /) -> int:
        size = len(memoryview(data).cast("B"))
        problem = None
        try:
            with _writing:
                written = super().write(data)
        except OSError as error:
            written, problem = size, error
        self._wrote(size, problem)
        return size if written is None else written


def _drop() -> None:
    target = os.open(os.devnull, os.O_WRONLY)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _quieten_libraries() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning advises to use more data-loading workers, but the study decides the cores of a trial.
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    # On a machine of a cluster; a trial is not launched by its launcher.
    warnings.filterwarnings("ignore", message=r".*`srun` command is available")
    # Lightning logs steps every 50 batches, and epochs all the same.
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller than the logging interval")
    # Caused by Lightning's own use of torch, at every fit.
    warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
