"""A CUDA graph: work that a GPU is given once, and repeats in the same memory for the price of one launch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

Result = TypeVar("Result")

# torch.cuda.graph: libraries set themselves up in the first runs, which cannot be captured.
WARM_UP = 3
# A graph has memory of its own, beside that of the same step without it, and validation needs some.
SHARE_TO_BE_FREE = 2


class Graph(Protocol):
    """What is captured of a run is done again by `replay`, which overwrites the tensors that the run gave."""

    def obstacle(self) -> str | None:
        """Why nothing should be captured now, in words that follow 'because'."""

    def capture(self, run: Callable[[], Result]) -> Result:
        """What `run` gives; it may be called several times, and nothing of what it computes is to be relied on."""

    def replay(self) -> None:
        """Do again what was captured."""


def graph_on(device: torch.device) -> Graph | None:
    """A graph to capture on this device; None where there are none."""
    return CudaGraph(device) if device.type == "cuda" else None


class CudaGraph:
    """A graph of one GPU, captured as torch's documentation of torch.cuda.graph demands."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph: torch.cuda.CUDAGraph | None = None

    def obstacle(self) -> str | None:
        free, _ = torch.cuda.mem_get_info(self._device)
        if free < SHARE_TO_BE_FREE * torch.cuda.memory_reserved(self._device):
            return "a graph needs as much memory again, and the GPU has too little left"
        return None

    def capture(self, run: Callable[[], Result]) -> Result:
        graph, stream = torch.cuda.CUDAGraph(), _stream_of(self._device)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        before = generator.clone_state()
        try:
            stream.wait_stream(torch.cuda.current_stream(self._device))
            # The outer context leaves the stream also where the capture's own end fails, and does not.
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    run()
                # The backward pass, data loaders and the trial's pulse have threads of their own.
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    captured = run()
            torch.cuda.current_stream(self._device).wait_stream(stream)
        except BaseException:
            # A generator whose capture broke off may refuse to draw: its state from before takes its place.
            generator.graphsafe_set_state(before)
            torch.cuda.synchronize(self._device)
            graph.reset()
            raise
        self._graph = graph
        return captured

    def replay(self) -> None:
        assert self._graph is not None
        self._graph.replay()


@functools.cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """Always the same, since libraries keep memory for each stream that they have worked on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
