"""Arrays that took long to make, kept in a file that all processes of a machine map into their memory.

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
# A smaller file is read in the time that it takes to find what was kept of it.
LEAST_BYTES_TO_KEEP = 200_000
# What is larger is made on the disk, since it may not fit in memory.
MOST_BYTES_IN_MEMORY = 256 << 20


class Kept(NamedTuple):
    """Arrays by name, none of them empty, and a note of plain values."""

    arrays: dict[str, NDArray[Any]]
    note: dict[str, Any]


def cached(key: Mapping[str, Any], make: Callable[[], Kept]) -> Kept:
    """What was made for this key before, or what `make` makes now, kept for the next one.

    A file appears whole or not at all, and one that was damaged later is made anew, so any number of processes may
    ask at once: at worst, several make the same. Where nothing can be written, nothing is kept. The arrays may be
    written to; nobody else sees that.

    Args:
        key: everything that the arrays depend on, in plain values; files by `identity`.
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
        log.warning("what was read cannot be kept in %s, so every trial reads it anew: %s", path.parent, error)
        return made


def is_worth_keeping(path: Path) -> bool:
    """Whether what stands in this file should be kept once it was read."""
    return path.is_file() and path.stat().st_size >= LEAST_BYTES_TO_KEEP


def read_once(what: str, path: Path, arguments: Mapping[str, Any], read: Callable[[], Kept]) -> Kept:
    """What a file was read as, with the warnings of then.

    Args:
        what: the kind and the version of what is kept.
        arguments: what it depends on besides the file.
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
    """An array to make what is to be kept in: of a large one, what is not looked at just now may leave the memory."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    if count > MOST_BYTES_IN_MEMORY:
        with contextlib.suppress(OSError, AttributeError):  # macOS has no such call
            cache_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=cache_folder()) as file:
                os.posix_fallocate(file.fileno(), 0, count)  # a full disk is an error now, and not a signal later
                return np.memmap(file, mode="r+", dtype=dtype, shape=shape)
    return np.empty(shape, dtype=dtype)


def identity(path: Path) -> list[Any]:
    """Of a file, without reading it: another one if it is replaced or written to, whatever its time is set to."""
    return of_stat(str(path.resolve()), path.stat())


def of_stat(name: str, found: os.stat_result) -> list[Any]:
    """The identity of a file of this name that was found so."""
    return [name, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def cache_folder() -> Path:
    """Where arrays are kept, of this user only."""
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
    # Every later change of the file changes its time of modification; the minute is far from any such change.
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
        # Copy on write, because torch wants arrays that can be written to.
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
    """Where the arrays begin: memory is mapped in pages."""
    return -(-head // ALIGNMENT) * ALIGNMENT
