"""What is compared between two trials of a process, where a GPU or torch's settings are involved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpo.training import process_state
from hpo.training.lean import cuda
from hpo.training.process_state import MOST_GROWTH_BYTES, ProcessState

MUCH = 2 * MOST_GROWTH_BYTES


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessState:
    monkeypatch.setattr(process_state, "_has_children", lambda: False)  # those of the tests' servers
    monkeypatch.delitem(process_state._SETTINGS, "os.environ")  # pytest keeps the present test's phase there
    return ProcessState(tmp_path)


def with_memory(monkeypatch: pytest.MonkeyPatch, *, process: int, gpu: int = 0, libraries: int = 10) -> None:
    monkeypatch.setattr(process_state, "_memory_in_use", lambda: (process, gpu))
    monkeypatch.setattr(process_state, "_loaded_libraries", lambda: libraries)


def test_libraries_that_a_later_trial_loads_are_no_growth(state: ProcessState, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, process=0)
    state.tidy()
    with_memory(monkeypatch, process=MUCH, libraries=14)  # cuDNN, in the first convolution
    state.tidy()
    assert state.changed() == ""

    with_memory(monkeypatch, process=2 * MUCH, libraries=14)
    state.tidy()
    assert state.changed() == "its memory grows"


def test_tensors_that_stay_on_the_gpu_are_growth(state: ProcessState, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, process=0)
    state.tidy()
    with_memory(monkeypatch, process=0, gpu=MUCH)
    state.tidy()

    assert state.changed() == "its memory grows"


def test_between_trials_a_gpus_caches_are_emptied_and_its_peaks_forgotten(
    state: ProcessState, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(process_state, "_uses_gpu", lambda: True)
    with_memory(monkeypatch, process=0)
    for owner, name in (
        (torch.cuda, "empty_cache"),
        (torch.accelerator, "empty_host_cache"),
        (torch.cuda, "reset_peak_memory_stats"),
    ):
        monkeypatch.setattr(owner, name, lambda name=name: called.append(name))

    state.tidy()

    assert called == ["empty_cache", "empty_host_cache", "reset_peak_memory_stats"]


def test_a_process_with_a_failed_capture_takes_no_further_trial(
    state: ProcessState, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state.changed() == ""
    monkeypatch.setattr(cuda, "_failures", 1)

    assert state.changed() == "a CUDA graph could not be captured in it"


def test_a_setting_that_torch_refuses_to_tell_is_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(process_state, "_has_children", lambda: False)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    state = ProcessState(tmp_path)

    assert state.changed() == ""
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert state.changed() == "float32 precision (TF32) changed"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell")
def test_the_machine_code_in_memory_is_counted() -> None:
    assert process_state._loaded_libraries() > 10
