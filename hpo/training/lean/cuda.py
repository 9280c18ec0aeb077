"""A CUDA graph: recorded GPU work that is repeated in the same memory at the cost of one launch."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch

Result = TypeVar("Result")

# torch.cuda.graph: libraries initialise in the first runs, which cannot be captured.
WARM_UP = 3
# A graph has its own memory, in addition to that of the same step without it, and validation needs some.
SHARE_TO_BE_FREE = 2


class Graph(Protocol):
    """Captures a run; `replay` repeats it, and overwrites the tensors that the run returned."""

    def obstacle(self) -> str | None:
        """Why nothing should be captured now, as a text that follows 'because'."""

    def capture(self, run: Callable[[], Result]) -> Result:
        """The result of `run`, which may be called several times; its tensors have valid values after a replay only.

        Raises:
            RuntimeError: `run` reads values on the host, which is found before anything is captured; or another reason.
        """

    def replay(self) -> None:
        """Repeat the captured run."""


def graph_on(device: torch.device) -> Graph | None:
    """A graph for this device; None where the device has no graphs."""
    return CudaGraph(device) if device.type == "cuda" else None


class CudaGraph:
    """A graph of one GPU, captured as the documentation of torch.cuda.graph requires."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph: torch.cuda.CUDAGraph | None = None

    def obstacle(self) -> str | None:
        free, _ = torch.cuda.mem_get_info(self._device)
        if free < SHARE_TO_BE_FREE * torch.cuda.memory_reserved(self._device):
            return "a graph needs as much memory again, and the GPU has too little left"
        return None

    def capture(self, run: Callable[[], Result]) -> Result:
        graph, stream, pool = torch.cuda.CUDAGraph(), _stream_of(self._device), torch.cuda.graph_pool_handle()
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        before = generator.clone_state()
        is_begun = False
        try:
            stream.wait_stream(torch.cuda.current_stream(self._device))
            # The outer context leaves the stream even if the capture's own exit fails and does not.
            with torch.cuda.stream(stream):
                with _no_synchronization():
                    for _ in range(WARM_UP):
                        run()
                is_begun = True
                # The backward pass, data loaders and the trial's pulse run in other threads.
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    captured = run()
            torch.cuda.current_stream(self._device).wait_stream(stream)
        except BaseException:
            # After a failed capture the generator may refuse to draw: its earlier state is restored.
            generator.graphsafe_set_state(before)
            torch.cuda.synchronize(self._device)
            graph.reset()
            if is_begun:
                _clean_up(self._device, pool)
            raise
        self._graph = graph
        return captured

    def replay(self) -> None:
        assert self._graph is not None
        self._graph.replay()


def has_failed() -> bool:
    """Whether a capture of this process has failed: it should take no further trial."""
    return _failures > 0


_failures = 0


@contextlib.contextmanager
def _no_synchronization() -> Iterator[None]:
    """Refuse operations that wait for the GPU, such as reading a value on the host, before a capture fails by them.

    Raises:
        RuntimeError: within, from such an operation.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _clean_up(device: torch.device, pool: Any) -> None:
    """End the pool of a capture that failed, which torch leaves open: its memory is lost, and no cache can be emptied.

    Where emptying still fails, nothing in this process tries it again: Lightning would fail the trial at its end.
    """
    global _failures
    _failures += 1
    index = torch.cuda.current_device() if device.index is None else device.index
    for end in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        with contextlib.suppress(RuntimeError):  # it is ended or released already, by other versions of torch
            getattr(torch._C, end)(index, pool)
    try:
        torch.cuda.empty_cache()
    except RuntimeError:
        torch.cuda.empty_cache = lambda: None


@functools.cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """Always the same stream, since libraries keep memory for each stream they have used."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
