"""A worker that does not outlive the process that started it: an engine's agent, whose machine may be given away."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from hpo.errors import RunError, SpecError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def drain_with_parent() -> None:
    """Get SIGTERM when the parent's thread that started this process exits; call it first.

    Raises:
        SpecError: this system has no such signal.
        RunError: the parent has exited already.
    """
    parent = os.getppid()
    if sys.platform != "linux" or ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        raise SpecError("--end-with-parent: only Linux tells a process that its parent has exited")
    if os.getppid() != parent:
        raise RunError("the process that started this worker has exited")
