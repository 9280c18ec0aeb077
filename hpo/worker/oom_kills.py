"""Counts the processes that the kernel has killed because memory ran out.

A process that is killed so exits without a report, by the same signal as one that a person kills.
"""

from __future__ import annotations

import re
from pathlib import Path


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """How many so far in this process's control group, else on this machine; None where the system does not tell.

    The counters are those of the kernel's documentation: `memory.events` of a control group (version 2),
    `memory.oom_control` (version 1), and `/proc/vmstat`.
    """
    for file in (*_files_of_cgroup(proc, cgroups), proc / "vmstat"):
        try:
            counted = re.search(r"^oom_kill (\d+)$", file.read_text(encoding="ascii"), re.MULTILINE)
        except (OSError, UnicodeDecodeError):
            continue
        if counted is not None:
            return int(counted[1])
    return None


def _files_of_cgroup(proc: Path, cgroups: Path) -> list[Path]:
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # A container often sees its own group at the root, whatever its path is outside.
        if controllers == "":
            files += [cgroups / path.lstrip("/") / "memory.events", cgroups / "memory.events"]
        elif "memory" in controllers.split(","):
            folder = cgroups / "memory"
            files += [folder / path.lstrip("/") / "memory.oom_control", folder / "memory.oom_control"]
    return files
