"""Another process that holds GPUs, as a worker does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

HOLD = """
import sys
from hpo.study.gpu_locks import GpuLocks
locks = GpuLocks()
locks.hold(sys.argv[1:])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(*uuids: str) -> Iterator[int]:
    """Its number; it is killed at the end, and so releases nothing itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *uuids], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()
