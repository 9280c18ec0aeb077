"""Whether a process that has trained a trial may train another: it must not be able to tell that it is not new.

What a module leaves in its own global variables cannot be seen from here; `reuse_processes: false` is for those.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import psutil
import torch

# Of what the first trial left; a model's own memory comes and goes, what grows is a leak.
MOST_GROWTH_BYTES = 256 << 20
# Lightning notes its seeds there, for processes that a trial starts.
_OF_LIGHTNING = "PL_"


class Surroundings:
    """What a trial finds in its process, taken before the first one."""

    def __init__(self) -> None:
        self._settings = _settings()
        self._threads = threading.active_count()
        self._bytes: tuple[int, int] | None = None

    def are_restored(self) -> bool:
        """Whether the next trial would find them as the first one did; drops what the last one has left to drop."""
        gc.collect()
        if _uses_gpu():
            torch.cuda.empty_cache()
        held = _held()
        self._bytes = self._bytes or held
        return (
            _settings() == self._settings
            and threading.active_count() <= self._threads
            and not multiprocessing.active_children()
            and not psutil.Process().children()
            and not _has_compiled()
            and all(now - then < MOST_GROWTH_BYTES for now, then in zip(held, self._bytes, strict=True))
        )


def _settings() -> list[Any]:
    return [
        {name: value for name, value in os.environ.items() if not name.startswith(_OF_LIGHTNING)},
        Path.cwd(),
        sys.path[:],
        sys.getrecursionlimit(),
        [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)],
        warnings.filters[:],
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_anomaly_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
    ]


def _held() -> tuple[int, int]:
    """Bytes of memory: of the process, and of its tensors on a GPU."""
    on_gpu = torch.cuda.memory_allocated() if _uses_gpu() else 0
    return psutil.Process().memory_info().rss, on_gpu


def _uses_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _has_compiled() -> bool:
    """Whether torch.compile was used, which takes shapes that it meets later for other ones."""
    utils = sys.modules.get("torch._dynamo.utils")
    return utils is not None and bool(utils.counters["frames"])
