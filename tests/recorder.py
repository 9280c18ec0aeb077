"""CUDA graphs emulated on a CPU: kernels are recorded with their tensors, and run again in the same memory.

Python runs once, so that whatever it decides or computes is frozen, as in a graph; random numbers are drawn anew; and
what needs a result on the host cannot be captured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = TypeVar("Result")

# A kernel, what it takes, what it gave, and whether gradients were computed for later, which some kernels ask.
Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any, bool]

ASK_THE_DEVICE = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")


class DryRun(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As torch's debug mode for synchronisations."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ASK_THE_DEVICE:
            raise RuntimeError(f"called a synchronizing operation: {func}")
        return func(*args, **(kwargs or {}))


class _Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, given, torch.is_grad_enabled()))
        return given


class Recorder:
    """A `Graph` of a CPU."""

    begun = made = 0  # captures of all instances, as are the replays
    replays = 0

    def __init__(self, device: torch.device) -> None:
        self._calls: list[Call] = []

    def obstacle(self) -> str | None:
        return None

    def capture(self, run: Callable[[], Result]) -> Result:
        with DryRun():  # type: ignore[no-untyped-call]
            run()
        Recorder.begun += 1
        with _Noting() as noting:
            given = run()
        self._calls = noting.calls
        Recorder.made += 1
        return given

    def replay(self) -> None:
        Recorder.replays += 1
        # Where they were noted: below autograd, which has done its part.
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, given, is_with_gradients in self._calls:
                with torch.set_grad_enabled(is_with_gradients):
                    again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(given), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.numel() and old.data_ptr() != new.data_ptr():
                        old.copy_(new)
