"""The mark in a study's folder that says which store knows the study: several may share a folder of artifacts."""

from __future__ import annotations

import contextlib
from pathlib import Path

MARK = "store.txt"


def mark_folder(folder: Path, store: str) -> None:
    """Note the store of a study in the study's folder, once.

    Args:
        store: its URL without a password.

    Raises:
        OSError: the folder is not there, or cannot be written.
    """
    mark = folder / MARK
    if not mark.exists():
        mark.write_text(f"{store}\n", encoding="utf-8")


def marked_store(folder: Path) -> str | None:
    """The store that the mark in a study's folder names; None without a mark."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (folder / MARK).read_text(encoding="utf-8").strip() or None
    return None
