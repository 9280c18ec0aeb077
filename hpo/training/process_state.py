"""Whether a process that has trained a trial may train another: it must not be able to tell that it is not new.

What lies deeper than a project's global variables and class attributes, such as in an object that one of them holds,
is not looked at; `reuse_processes: false` is for those.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import torch

# Of what the first trial left; a model's own memory comes and goes, what grows is a leak.
MOST_GROWTH_BYTES = 256 << 20
# Lightning notes its seeds there, for processes that a trial starts.
_OF_LIGHTNING = "PL_"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class ProcessState:
    """What a trial finds in its process, taken before the first one.

    Args:
        project: the folder whose modules are watched.
    """

    def __init__(self, project: Path) -> None:
        self._project = str(project.resolve()) + os.sep
        self._settings = _settings()
        self._seen: set[str] = set()  # of all modules
        self._variables: dict[str, _Variables] = {}  # of the project's
        self._watch_new_modules()
        self._threads = threading.active_count()
        self._bytes: tuple[int, int] | None = None  # after the first trial
        self._is_growing = False

    def tidy(self) -> None:
        """Drop what the last trial has left to drop, and see what stays."""
        gc.collect()
        if _uses_gpu():
            torch.cuda.empty_cache()
        if self._bytes is None:
            self._bytes = _held()
            gc.freeze()  # what stays after the first trial stays, and need not be looked at after each
        self._is_growing = self._has_grown()
        if self._is_growing:  # or the C library keeps what a larger model has freed
            _give_back_freed_memory()
            self._is_growing = self._has_grown()

    def _has_grown(self) -> bool:
        assert self._bytes is not None
        return any(now - then >= MOST_GROWTH_BYTES for now, then in zip(_held(), self._bytes, strict=True))

    def changed(self) -> str:
        """What the next trial would find otherwise than the first one did, or ""."""
        if threading.active_count() > self._threads:
            return "a thread still runs"
        if _has_children():
            return "a child process still runs"
        if _has_compiled():
            return "torch.compile takes what it has compiled for new shapes"
        if self._is_growing:
            return "its memory grows"
        now = _settings()
        if differing := [name for name, value in self._settings.items() if now[name] != value]:
            return f"{' and '.join(differing)} changed"
        return self._changed_variable()

    def _changed_variable(self) -> str:
        for module, before in self._variables.items():
            after = _variables(sys.modules[module]) if module in sys.modules else {}
            for name in before.keys() | after.keys():
                (value, size), (other, other_size) = before.get(name, _ABSENT), after.get(name, _ABSENT)
                if value is not other or size != other_size:
                    return f"{module}.{name} changed"
        self._watch_new_modules()
        return ""

    def _watch_new_modules(self) -> None:
        """Those that a trial was the first to import, too."""
        for name in sys.modules.keys() - self._seen:
            self._seen.add(name)
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(self._project) and "site-packages" not in file and not name.startswith("hpo."):
                self._variables[name] = _variables(sys.modules[name])


_Variables = dict[str, tuple[object, int]]
_ABSENT = (object(), 0)


def _variables(module: ModuleType) -> _Variables:
    """By name: each variable of a module and attribute of its classes, and how much it holds, if it is a container."""
    found = _attributes(module)
    for key, value in list(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            found |= {f"{key}.{attribute}": held for attribute, held in _attributes(value).items()}
    return found


def _attributes(owner: object) -> _Variables:
    return {
        name: (value, len(value) if isinstance(value, list | dict | set) else 0)
        for name, value in list(vars(owner).items())
        if not name.startswith("__")
    }


def _settings() -> dict[str, Any]:
    """By what they are called."""
    return {
        "os.environ": {name: value for name, value in os.environ.items() if not name.startswith(_OF_LIGHTNING)},
        "the working folder": Path.cwd(),
        "sys.path": sys.path[:],
        "the recursion limit": sys.getrecursionlimit(),
        "a signal's handler": [signal.getsignal(number) for number in _SIGNALS],
        "the warnings' filters": warnings.filters[:],
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "cuDNN's settings": (
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.allow_tf32,
        ),
        "TF32": torch.backends.cuda.matmul.allow_tf32,
    }


def _has_children() -> bool:
    if not hasattr(os, "waitid"):  # on macOS; the other way reads all processes of the machine
        return bool(psutil.Process().children())
    multiprocessing.active_children()  # takes in those that have ended
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _held() -> tuple[int, int]:
    """Bytes of memory: of the process, and of its tensors on a GPU."""
    on_gpu = torch.cuda.memory_allocated() if _uses_gpu() else 0
    return psutil.Process().memory_info().rss, on_gpu


def _give_back_freed_memory() -> None:
    with contextlib.suppress(AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)


def _uses_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _has_compiled() -> bool:
    """Whether torch.compile was used, which takes shapes that it meets later for other ones."""
    utils = sys.modules.get("torch._dynamo.utils")
    return utils is not None and bool(utils.counters["frames"])
