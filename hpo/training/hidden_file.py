"""A file that this process, and all that it starts, can no longer read: the password of the store.

A trial is the same user as its worker, so permissions cannot tell them apart. Landlock, of Linux 5.13 and later, can: a
process gives up rights for itself and its children, without being root. It also keeps them out of the memory and the
environment of the worker, which has read the password. See https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# The numbers of the calls are the same on all architectures but Alpha.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
# Renaming into another folder is refused in every ruleset that does not allow it; the first version cannot allow it.
_READ_FILE, _REFER = 1 << 2, 1 << 13
_FIRST_VERSION_WITH_REFER = 2
_PR_SET_NO_NEW_PRIVS = 38


def hide(path: Path) -> str | None:
    """Give up the right to read a file, for this process and its children.

    Everything else can be read as before. So nothing may appear beside the file, or beside a folder that it is in,
    since that could not be read: where this user may create something there, the file is not hidden.

    Returns:
        Why the file is not hidden, as a text that follows 'because'; None if it is, or if it is not there.
    """
    try:
        path = path.resolve(strict=True)
    except OSError:
        return None
    if os.geteuid() == 0:
        return "root can write into every folder: run the worker as a user of its own"
    if (writable := next((folder for folder in path.parents if os.access(folder, os.W_OK)), None)) is not None:
        return f"this user can write into {writable}: move it, for instance to /run/secrets or /etc/hpo"
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.syscall(_CREATE_RULESET, None, 0, _VERSION) < _FIRST_VERSION_WITH_REFER:
        return "the kernel has no Landlock, or no second version of it (Linux 5.19)"
    handled = ctypes.c_uint64(_READ_FILE | _REFER)
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    if rules < 0:
        return os.strerror(ctypes.get_errno())
    try:
        for other in _all_but(path):
            _allow(libc, rules, other)
        # a program that runs as its owner would have the owner's rights
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, rules, 0):
            return os.strerror(ctypes.get_errno())
    except OSError as error:  # of a folder that cannot be listed
        return str(error)
    finally:
        os.close(rules)
    return None


def _all_but(path: Path) -> Iterator[Path]:
    """What stands beside the file, and beside each folder that it is in."""
    for inner in (path, *path.parents):
        if inner != inner.parent:
            yield from (other for other in inner.parent.iterdir() if other != inner)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _allow(libc: ctypes.CDLL, rules: int, path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it has gone, or leads nowhere
        return
    try:
        allowed = _READ_FILE | (_REFER if path.is_dir() else 0)
        rule = _PathBeneath(allowed, descriptor)
        libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
