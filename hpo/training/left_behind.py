"""Processes that trials leave behind: daemons, which have forked twice, are ended with their trial's process.

Linux gives an orphan to its nearest ancestor that is a subreaper, here the fork server. Elsewhere they become those of
init, and only the trial's own process group is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path

import psutil

# In the environment of a trial's process, and of the programs that it starts.
OWNER = "HPO_TRIAL_PROCESS"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(own: Collection[int]) -> None:
    """End the orphans whose trial process has exited, with all processes below them.

    Args:
        own: processes that this server has forked and that have not exited.
    """
    for pid in _children():
        if pid in own:
            continue
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:  # it has exited by itself
                continue
            if not _belongs_to(pid, own):
                _kill(pid)
                os.waitpid(pid, 0)


def _children() -> list[int]:
    """Of the only thread of a server."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def _belongs_to(pid: int, own: Collection[int]) -> bool:
    """Whether it was started by a trial's process that still runs; a fork that starts no program does not say."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return bool(own)
    marks = [value for name, _, value in (variable.partition(b"=") for variable in variables) if name == OWNER.encode()]
    return int(marks[0]) in own if marks and marks[0].isdigit() else bool(own)


def _kill(pid: int) -> None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for below in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                below.send_signal(signal.SIGKILL)
