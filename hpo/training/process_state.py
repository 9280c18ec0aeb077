"""Checks whether a process is clean after a trial, so that the next trial in it behaves as in a new process.

Only global variables and class attributes of the project's modules are compared, not the contents of the objects that
they refer to; projects that change those set `reuse_processes: false`.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import torch

from hpo.training.lean import cuda

# Compared with the memory after the first trial; a model's memory is freed, so growth beyond this is a leak.
MOST_GROWTH_BYTES = 256 << 20
# Lightning stores its seeds in these variables, for processes that a trial starts.
_OF_LIGHTNING = "PL_"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class ProcessState:
    """The state of a process before its first trial, to compare with.

    Args:
        project: the folder whose modules are compared.
    """

    def __init__(self, project: Path) -> None:
        self._project = str(project.resolve()) + os.sep
        self._settings = _settings()
        self._seen: set[str] = set()  # of all modules
        self._variables: dict[str, _Variables] = {}  # of the project's
        self._watch_new_modules()
        self._threads = threading.active_count()
        self._bytes: tuple[int, int] | None = None  # after the first trial, or the last that loaded libraries
        self._libraries = 0
        self._is_growing = False

    def tidy(self) -> None:
        """Free the last trial's memory, and measure the rest."""
        gc.collect()
        if _uses_gpu():
            torch.cuda.empty_cache()
            torch.accelerator.empty_host_cache()  # pinned memory, which is kept from other programs
            torch.cuda.reset_peak_memory_stats()
        libraries = _loaded_libraries()
        if self._bytes is None or libraries > self._libraries:  # as cuDNN, in the first convolution
            self._bytes, self._libraries = _memory_in_use(), libraries
            gc.freeze()  # objects that survive the first trial are permanent, and need no further collections
        self._is_growing = self._has_grown()
        if self._is_growing:  # or the C library keeps memory that a larger model has freed
            _release_freed_memory()
            self._is_growing = self._has_grown()

    def _has_grown(self) -> bool:
        assert self._bytes is not None
        return any(now - then >= MOST_GROWTH_BYTES for now, then in zip(_memory_in_use(), self._bytes, strict=True))

    def changed(self) -> str:
        """The first difference to the state before the first trial, as a text; "" if there is none."""
        if cuda.has_failed():
            return "a CUDA graph could not be captured in it"
        if threading.active_count() > self._threads:
            return "a thread still runs"
        if _has_children():
            return "a child process still runs"
        if _has_compiled():
            return "torch.compile would compile new shapes differently"
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
        """Record the variables of modules that were imported since the last call."""
        for name in sys.modules.keys() - self._seen:
            self._seen.add(name)
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(self._project) and "site-packages" not in file and not name.startswith("hpo."):
                self._variables[name] = _variables(sys.modules[name])


_Variables = dict[str, tuple[object, int]]
_ABSENT = (object(), 0)


def _variables(module: ModuleType) -> _Variables:
    """By name: each variable of a module and attribute of its classes, with its size if it is a container."""
    found = _attributes(module)
    for key, value in list(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            found |= {f"{key}.{attribute}": entry for attribute, entry in _attributes(value).items()}
    return found


def _attributes(owner: object) -> _Variables:
    return {
        name: (value, len(value) if isinstance(value, list | dict | set) else 0)
        for name, value in list(vars(owner).items())
        if not name.startswith("__")
    }


def _settings() -> dict[str, Any]:
    """The process-wide settings that user code may change, by the name used in messages."""
    return {name: _value_of(read) for name, read in _SETTINGS.items()}


def _value_of(read: Callable[[], Any]) -> Any:
    """A setting, or the name of the error: torch refuses to tell some after others were set in its newer way."""
    try:
        return read()
    except Exception as error:
        return type(error).__name__


def _float32_precisions() -> list[Any]:
    """How torch rounds 32-bit factors: by its older settings, and by its newer ones, where it has these."""
    backends: Any = torch.backends
    places = [backends]
    for path in ("cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn", "mkldnn", "mkldnn.matmul", "mkldnn.conv"):
        place = backends
        for name in path.split("."):
            place = getattr(place, name, None)
        places.append(place)
    older: list[Callable[[], Any]] = [
        torch.get_float32_matmul_precision,
        lambda: backends.cuda.matmul.allow_tf32,
        lambda: backends.cudnn.allow_tf32,
    ]
    newer: list[Callable[[], Any]] = [partial(getattr, place, "fp32_precision", None) for place in places]
    return [_value_of(read) for read in (*older, *newer)]


_SETTINGS: dict[str, Callable[[], Any]] = {
    "os.environ": lambda: {name: value for name, value in os.environ.items() if not name.startswith(_OF_LIGHTNING)},
    "the working folder": Path.cwd,
    "sys.path": lambda: sys.path[:],
    "the recursion limit": sys.getrecursionlimit,
    "a signal's handler": lambda: [signal.getsignal(number) for number in _SIGNALS],
    "the warnings' filters": lambda: warnings.filters[:],
    "torch's default dtype": torch.get_default_dtype,
    "torch's default device": torch.get_default_device,
    "torch's threads": torch.get_num_threads,
    "grad mode": torch.is_grad_enabled,
    "anomaly mode": torch.is_anomaly_enabled,
    "autocast": lambda: (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "float32 precision (TF32)": _float32_precisions,
    "cuDNN's settings": lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
}


def _has_children() -> bool:
    if not hasattr(os, "waitid"):  # on macOS; psutil reads all processes of the machine, which is slow
        return bool(psutil.Process().children())
    multiprocessing.active_children()  # reaps those that have ended
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _memory_in_use() -> tuple[int, int]:
    """Bytes of memory: of the process, and of its tensors on a GPU."""
    on_gpu = torch.cuda.memory_allocated() if _uses_gpu() else 0
    return psutil.Process().memory_info().rss, on_gpu


def _loaded_libraries() -> int:
    """How many files of machine code this process has in its memory; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return len({path for line in lines if ".so" in (path := line.partition("/")[2])})


def _release_freed_memory() -> None:
    with contextlib.suppress(AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)


def _uses_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _has_compiled() -> bool:
    """Whether torch.compile was used: after one shape, it compiles a new one as dynamic, with another result."""
    utils = sys.modules.get("torch._dynamo.utils")
    return utils is not None and bool(utils.counters["frames"])
