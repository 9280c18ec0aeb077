"""A mark in a study's folder with the store of the study, since several stores may share a folder of artifacts."""

from __future__ import annotations

import contextlib
from pathlib import Path

MARK = "store.txt"


def mark_folder(folder: Path, store: str) -> None:
    """Write the store of a study into the study's folder, unless it has a mark.

    Args:
        store: its URL without a password.

    Raises:
        OSError: the folder does not exist, or cannot be written.
    """
    mark = folder / MARK
    with contextlib.suppress(FileNotFoundError):
        if mark.stat().st_size:  # it is empty where the disk was full
            return
    mark.write_text(f"{store}\n", encoding="utf-8")


def marked_store(folder: Path) -> str | None:
    """The store named by the mark in a study's folder; None without a mark."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (folder / MARK).read_text(encoding="utf-8").strip() or None
    return None
