"""The capture of a CUDA graph, on a device whose parts of torch are recorded: what is called, in which order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hpo.training.lean import cuda

GPU = torch.device("cuda", 0)


class Device:
    """Stands for torch.cuda: notes calls, and fails where it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.mode: str | int = "default"
        self.cannot_empty = False

    def note(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            return self

        return call

    def __getattr__(self, name: str) -> Any:  # of streams, generators and graphs
        return self.note(name)

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")
        if self.cannot_empty:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    @contextlib.contextmanager
    def graph(self, graph: Any, *, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert pool == (0, 7)
        self.calls.append("capture begins")
        yield
        self.calls.append("capture ends")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    made = Device()
    monkeypatch.setattr(cuda, "_failures", 0)
    cuda._stream_of.cache_clear()
    for name in ("CUDAGraph", "Stream", "synchronize", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, made.note(name))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "default_generators", (made,))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", made.graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
    monkeypatch.setattr(torch.cuda, "empty_cache", made.empty_cache)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: made.mode)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: setattr(made, "mode", mode))
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda index, pool, name=name: made.calls.append(f"{name} {index} {pool}"))
    yield made
    cuda._stream_of.cache_clear()


def test_the_runs_before_a_capture_may_not_wait_for_the_gpu(device: Device) -> None:
    modes = []

    def run() -> str:
        modes.append(device.mode)
        return "captured"

    assert cuda.CudaGraph(GPU).capture(run) == "captured"
    assert modes == ["error"] * cuda.WARM_UP + ["default"]
    assert not cuda.has_failed()


def test_what_fails_before_a_capture_leaves_nothing_to_clean_up(device: Device) -> None:
    def run() -> None:
        raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        cuda.CudaGraph(GPU).capture(run)

    assert device.mode == "default"
    assert not cuda.has_failed()
    assert not [call for call in device.calls if call.startswith(("capture", "_cuda"))]


@pytest.mark.parametrize("cannot_empty", [False, True])
def test_a_capture_that_fails_ends_its_pool_and_lets_the_trial_end_well(device: Device, cannot_empty: bool) -> None:
    device.cannot_empty = cannot_empty

    def run() -> None:
        if "capture begins" in device.calls:
            raise ValueError("while it was captured")

    with pytest.raises(ValueError, match="captured"):
        cuda.CudaGraph(GPU).capture(run)

    ends = device.calls.index("_cuda_endAllocateToPool 0 (0, 7)")
    assert device.calls[ends:] == ["_cuda_endAllocateToPool 0 (0, 7)", "_cuda_releasePool 0 (0, 7)", "empty_cache"]
    assert "graphsafe_set_state" in device.calls[:ends]
    assert cuda.has_failed()
    torch.cuda.empty_cache()  # as Lightning does at the trial's end
    assert device.calls.count("empty_cache") == (1 if cannot_empty else 2)
