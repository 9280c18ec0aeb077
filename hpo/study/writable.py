"""Whether a folder can be written, and whether an error is the disk's and not that of the code that met it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

PROBE = ".probe-"  # begins the name of a file that is written and removed at once
_PROBE_BYTES = 4096  # a full disk takes an empty file

_FULL = {errno.ENOSPC, errno.EDQUOT}
# A write that fails names no file: these are what it may report.
_OF_WRITES = _FULL | {errno.EFBIG, errno.EIO, errno.ESTALE}
# Of a name in a folder of ours. A missing file or an odd name there may be a mistake of the code.
_OF_FOLDERS = _OF_WRITES | {
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.ENOLCK,
}


def check_writable(folder: Path) -> None:
    """Write a small file into a folder, and remove it.

    Raises:
        OSError: that failed.
    """
    probe = folder / f"{PROBE}{secrets.token_hex(4)}"
    try:
        with probe.open("xb", buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise
    probe.unlink()


def disk_error(error: BaseException, folders: Iterable[Path]) -> OSError | None:
    """The error of the disk that caused this one; None where the disk is not to blame.

    Args:
        folders: those that must be writable. An error of a name elsewhere is only the disk's if that disk is full. Any
            error is taken for the disk's while one of these folders cannot be written, since libraries hide the cause.
    """
    folders = list(folders)
    for found in _chain(error):
        if isinstance(found, OSError) and _is_of_disk(found, folders):
            return found
    for folder in folders:
        try:
            check_writable(folder)
        except OSError as unwritable:
            return unwritable
    return None


def error_in_words(error: OSError) -> str:
    """The error in words, with the file where it names one: `No space left on device: /art/x`."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}: {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else reason


def _is_of_disk(error: OSError, folders: Iterable[Path]) -> bool:
    if error.errno in _FULL:
        return True
    names = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not names:
        return error.errno in _OF_WRITES
    is_inside = any(name.is_relative_to(folder) for name in names for folder in folders)
    return is_inside and error.errno in _OF_FOLDERS


def _chain(error: BaseException) -> Iterable[BaseException]:
    """The error, and those that it was raised from or while handling."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
