"""Free space on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from hpo.doctor.finding import Finding
from hpo.printable import mebibytes

FEW_BYTES = 2**30
TOO_FEW_BYTES = 100 * 2**20


def free_space(folder: Path, what_for: str, free: int | None = None) -> Finding:
    """Whether the disk of a folder has enough free space.

    Args:
        free: bytes; by default those of the folder's disk.
    """
    free = shutil.disk_usage(folder).free if free is None else free
    message = f"{mebibytes(free)} free for {what_for}"
    if free < TOO_FEW_BYTES:
        return Finding("problem", "disk", message, str(folder), "make room: workers stop claiming when a disk is full")
    if free < FEW_BYTES:
        return Finding("note", "disk", message, str(folder), "make room before it is full")
    return Finding("ok", "disk", message, str(folder))
