"""Locks of GPUs: two workers on one machine never take the same one.

A lock is a socket with the GPU's UUID as its name, in Linux's abstract namespace: the kernel removes it with the
process that holds it, however that ends, and tells who holds it. Containers do not see each other's, unless they share
the network.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable

import psutil

from hpo.errors import RunError

_HAS_LOCKS = sys.platform.startswith("linux")
_SOMEBODY = "another process"
_CREDENTIALS = struct.Struct("3i")  # of Linux's SO_PEERCRED: process, user, group


class GpuLocks:
    """The GPUs that this process holds, until `release` or its end."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def hold(self, uuids: Iterable[str]) -> None:
        """Hold these GPUs.

        Raises:
            RunError: another process holds one, or this one does already; then none is held.
        """
        try:
            for uuid in uuids:
                if (held := _hold(uuid)) is not None:
                    self._held.append(held)
        except RunError:
            self.release()
            raise

    def release(self) -> None:
        """Hold none any more."""
        for held in self._held:
            held.close()
        self._held.clear()


def holder_of(uuid: str) -> str | None:
    """Who holds the GPU, for people, as 'process 1234 of alice'; None if nobody does.

    Asking holds nothing, so that it never keeps another process from the GPU.
    """
    if not _HAS_LOCKS:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as question:
        question.setblocking(False)
        try:
            question.connect(_name(uuid))
            credentials = question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            process, _, _ = _CREDENTIALS.unpack(credentials)
            return f"process {process} of {psutil.Process(process).username()}"
        except ConnectionRefusedError:
            return None
        except (BlockingIOError, psutil.Error):  # thousands have asked, or it belongs to another container
            return _SOMEBODY


def _hold(uuid: str) -> socket.socket | None:
    """The lock; None on systems without such sockets, which have no CUDA.

    Raises:
        RunError: somebody holds it: who.
    """
    if not _HAS_LOCKS:
        return None
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(_name(uuid))
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise RunError(holder_of(uuid) or _SOMEBODY) from None
    lock.listen(socket.SOMAXCONN)
    return lock


def _name(uuid: str) -> bytes:
    return b"\0hpo-gpu-" + uuid.encode(errors="replace")[:90]  # of at most 107 bytes
