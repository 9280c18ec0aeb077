"""A cache of arrays that took long to compute, in files that all processes of a machine map into their memory.

The folder is $XDG_CACHE_HOME/hpo-service, or ~/.cache/hpo-service; it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

MAGIC = b"hpo-cache-1\n"
ALIGNMENT = 4096
# A smaller file is read as quickly as its cached arrays would be found.
LEAST_BYTES_TO_KEEP = 200_000
# Larger arrays are created on the disk, since they may not fit in memory.
MOST_BYTES_IN_MEMORY = 256 << 20


class Kept(NamedTuple):
    """Arrays by name, none of them empty, and a note of plain values."""

    arrays: dict[str, NDArray[Any]]
    note: dict[str, Any]


def cached(key: Mapping[str, Any], make: Callable[[], Kept]) -> Kept:
    """The cached arrays for this key, or those that `make` returns now, which are then cached.

    A file appears completely or not at all, and a damaged one is replaced, so any number of processes may call this at
    once: at worst, several compute the same. If the folder cannot be written, nothing is cached. The arrays may be
    changed; other processes do not see the changes.

    Args:
        key: everything that the arrays depend on, as plain values; files by `identity`.
    """
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / f"{name}.arrays"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _opened(path)
    made = make()
    try:
        _write(path, made)
        return _opened(path)
    except OSError as error:
        log.warning("the data cannot be cached in %s, so every trial reads it again: %s", path.parent, error)
        return made


def is_worth_keeping(path: Path) -> bool:
    """Whether the contents of this file should be cached after they are read."""
    return path.is_file() and path.stat().st_size >= LEAST_BYTES_TO_KEEP


def read_once(what: str, path: Path, arguments: Mapping[str, Any], read: Callable[[], Kept]) -> Kept:
    """The cached or new result of `read` for a file, with the warnings of the time when it was read.

    Args:
        what: the kind and the version of the cached arrays.
        arguments: their dependencies other than the file.
    """

    def make() -> Kept:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", UserWarning)
            made = read()
        return made._replace(note=made.note | {"warnings": [str(warning.message) for warning in heard]})

    kept = cached({"what": what, "file": identity(path), **arguments}, make)
    for text in kept.note["warnings"]:
        warnings.warn(text, stacklevel=2)
    return kept


def room_for(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """A new array for data to be cached; a large one is on the disk, so that unused parts can leave the memory."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    if count > MOST_BYTES_IN_MEMORY:
        with contextlib.suppress(OSError, AttributeError):  # macOS has no such call
            cache_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=cache_folder()) as file:
                os.posix_fallocate(file.fileno(), 0, count)  # a full disk is an error now instead of a signal later
                return np.memmap(file, mode="r+", dtype=dtype, shape=shape)
    return np.empty(shape, dtype=dtype)


def identity(path: Path) -> list[Any]:
    """The identity of a file, without reading it: it changes if the file is replaced or written, with any time set."""
    return of_stat(str(path.resolve()), path.stat())


def of_stat(name: str, found: os.stat_result) -> list[Any]:
    """The identity of a file with this name and stat result."""
    return [name, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def cache_folder() -> Path:
    """The folder of cached arrays, for this user only."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen and Path(chosen).is_absolute():
        return Path(chosen, "hpo-service")
    try:
        return Path.home() / ".cache" / "hpo-service"
    except RuntimeError:  # in a container, a user may have neither a home nor a name
        return Path(tempfile.gettempdir(), f"hpo-service-{os.getuid()}")


def _write(path: Path, made: Kept) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    plan, blocks, end, check = [], [], 0, 0
    for name, array in made.arrays.items():
        block = np.ascontiguousarray(array)
        plan.append({"name": name, "type": block.dtype.str, "shape": block.shape, "start": end})
        blocks.append((end, block))
        end += -(-block.nbytes // ALIGNMENT) * ALIGNMENT
        check = zlib.crc32(block.data.cast("B"), check)
    # The set time is a minute off, so that every later change of the file changes its time of modification.
    stamp = (int(time.time()) - 60) // 2 * 2
    head = {"arrays": plan, "note": made.note, "bytes": end, "check": check, "stamp": stamp}
    text = json.dumps(head).encode() + b"\n"
    start = _start(len(MAGIC) + len(text))
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + text)
            for offset, block in blocks:
                file.seek(start + offset)
                file.write(block.data.cast("B"))
            file.truncate(start + end)
            file.flush()
            os.fsync(file.fileno())
        os.utime(temporary, (stamp, stamp))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _opened(path: Path) -> Kept:
    """
    Raises:
        OSError, ValueError, KeyError, TypeError: there is no such file, or it is damaged.
    """
    with path.open("rb") as file:
        if file.readline() != MAGIC:
            raise ValueError("another format")
        head = json.loads(file.readline())
        start = _start(file.tell())
        found = os.fstat(file.fileno())
        if found.st_size != start + head["bytes"]:
            raise ValueError("not whole")
        # Copy on write, because torch requires writable arrays.
        whole = np.memmap(file, mode="c", offset=start, shape=(head["bytes"],), dtype=np.uint8)
    arrays = {}
    for plan in head["arrays"]:
        shape, kind = tuple(plan["shape"]), np.dtype(plan["type"])
        count = int(np.prod(shape)) * kind.itemsize
        arrays[plan["name"]] = np.asarray(whole[plan["start"] : plan["start"] + count]).view(kind).reshape(shape)
    if found.st_mtime_ns != head["stamp"] * 10**9 and _check_of(arrays) != head["check"]:
        raise ValueError("damaged")
    return Kept(arrays, head["note"])


def _check_of(arrays: Mapping[str, NDArray[Any]]) -> int:
    check = 0
    for array in arrays.values():
        check = zlib.crc32(array.data.cast("B"), check)
    return check


def _start(head: int) -> int:
    """The offset of the arrays, a multiple of the page size, since memory is mapped in pages."""
    return -(-head // ALIGNMENT) * ALIGNMENT
