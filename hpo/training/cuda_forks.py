"""Whether a forked process can use CUDA: not if modules that were imported before the fork have initialised it."""

from __future__ import annotations

import contextlib
import functools
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

_TORCH = Path(torch.__file__).parent


class CudaCalls:
    """Notes who initialises CUDA, or counts its devices in a way that does, within the context.

    Attributes:
        places: where, as 'file, line N: code', of the code that called torch.
    """

    def __init__(self) -> None:
        self.places: list[str] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note the calls that are made within."""
        with contextlib.ExitStack() as stack:
            for owner, name in ((torch.cuda, "_lazy_init"), (torch._C, "_cuda_getDeviceCount")):
                function = getattr(owner, name, None)
                if function is not None:  # a torch without CUDA does not have all
                    setattr(owner, name, self._noting(function))
                    stack.callback(setattr, owner, name, function)
            yield

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*arguments: Any) -> Any:
            frames = [frame for frame in traceback.extract_stack()[:-1] if _TORCH not in Path(frame.filename).parents]
            self.places.append(f"{frames[-1].filename}, line {frames[-1].lineno}: {frames[-1].line}")
            return function(*arguments)

        return noting

    def obstacle(self) -> str:
        """The first place, if forks of this process cannot use CUDA because of such calls; "" if they can."""
        return self.places[0] if self.places and _is_bad_in_a_fork() else ""


def _is_bad_in_a_fork() -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
