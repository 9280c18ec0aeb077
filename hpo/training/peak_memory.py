"""The most memory that a trial has used: on its GPU, or of its process."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

import torch

_OWN = Path("/proc/self")
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def restart_peak() -> None:
    """Forget what this process has used so far; that of a GPU is forgotten when its trial has ended."""
    with contextlib.suppress(OSError):  # not on Linux, or not allowed: then it is that of all its trials
        (_OWN / "clear_refs").write_text("5", encoding="ascii")  # proc(5): resets the peak resident set size


def peak_memory(device: torch.device) -> int | None:
    """In bytes: on a GPU, what torch has reserved; on the CPU, the resident memory of the process, libraries included.

    None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        found = _PEAK.search((_OWN / "status").read_text(encoding="ascii", errors="replace"))
    except OSError:
        of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return of_process if sys.platform == "darwin" else None
    return int(found[1]) * 1024 if found else None
