"""IDX files, such as those of MNIST: the format is at the end of http://yann.lecun.com/exdb/mnist/."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GZIP = b"\x1f\x8b"
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an IDX file, compressed by gzip or not.

    Raises:
        ValueError: it is not an IDX file, or not complete; the message begins with the file.
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\x00\x00" or content[2] not in TYPES:
        raise ValueError(
            f"{path}: is not an IDX file: it should begin with two zero bytes and a type, not {content[:4]!r}"
        )
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if dimensions == 0 or len(content) < start:
        raise ValueError(f"{path}: is truncated: its header of {dimensions} dimensions is incomplete")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    kind = np.dtype(TYPES[content[2]])
    wanted = start + math.prod(shape) * kind.itemsize
    if len(content) != wanted:
        what = "is truncated" if len(content) < wanted else "is too long"
        words = " x ".join(str(size) for size in shape)
        raise ValueError(f"{path}: {what}: {words} values make {wanted:,} bytes with the head, it has {len(content):,}")
    return np.frombuffer(content, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be decompressed, it may be truncated: {error}") from error
