"""The form of a trial's log: a file of bounded size, of which the beginning and the newest part are kept.

Where output was left out there is a line that says how much. It is always at the same place and of the same length, so
that whoever shortens the log again finds it.
"""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 16 << 20  # a log that is longer is shortened
HEAD_BYTES = TAIL_BYTES = 4 << 20  # what is then kept of its beginning and of its end

_LINE = "\n[hpo: {:>19,d} bytes of output were left out here: a trial's log keeps its beginning and its end]\n"
_LINE_BYTES = len(_LINE.format(0))
_PIECE_BYTES = 1 << 20


def left_out_of(descriptor: int) -> int:
    """Bytes that were left out of a log, by the line in it that says so; 0 of one that is whole.

    Args:
        descriptor: of the file, open for reading.

    Raises:
        OSError: it cannot be read.
    """
    line = os.pread(descriptor, _LINE_BYTES, HEAD_BYTES).decode(errors="replace")
    before, after = _LINE.split("{:>19,d}")
    number = line[len(before) : -len(after)].strip().replace(",", "")
    return int(number) if line.startswith(before) and line.endswith(after) and number.isdecimal() else 0


def shorten(log: Path) -> None:
    """Shorten a log that is longer than it may be, in its place: other processes go on appending to it.

    What they write at this very moment may be left out as well, unless they wait for this to end.

    Raises:
        OSError: it cannot be read or written.
    """
    # The line is written at its place, and not after what others append at that moment.
    with log.open("r+b", buffering=0) as file, log.open("ab", buffering=0) as end:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        if size <= MOST_BYTES:
            return
        before = left_out_of(descriptor)
        tail = _read(descriptor, size - TAIL_BYTES)
        tail = tail[tail.find(b"\n") + 1 :]  # from the beginning of a line
        kept = HEAD_BYTES + len(tail) + (_LINE_BYTES if before else 0)
        now = os.fstat(descriptor).st_size  # with what others have written since it was read
        os.pwrite(descriptor, _LINE.format(before + now - kept).encode(), HEAD_BYTES)
        os.ftruncate(descriptor, HEAD_BYTES + _LINE_BYTES)
        rest = memoryview(tail)
        while rest:
            rest = rest[end.write(rest) :]


def _read(descriptor: int, start: int) -> bytes:
    parts = []
    while part := os.pread(descriptor, _PIECE_BYTES, start):
        parts.append(part)
        start += len(part)
        if len(parts) > MOST_BYTES // _PIECE_BYTES:  # something writes faster than this reads
            break
    return b"".join(parts)
