"""Slots of a machine's cores and GPUs; the visible GPUs are set by the variable that CUDA itself reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.study.devices import Slot, cores, slots_of, visible_gpus
from hpo.study.spec import Resources


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def resources(**keys: object) -> Resources:
    return Resources.model_validate(keys)


# ---- without a GPU


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_gpus_has_a_slot_of_one_thread_a_core() -> None:
    slots = slots_of(Resources())

    assert slots == [Slot(number, (), 1, 1) for number in range(cores())]
    assert {slot.device for slot in slots} == {"cpu"}
    assert {slot.accelerator for slot in slots} == {"cpu"}


@pytest.mark.usefixtures("no_gpu")
def test_fewer_slots_share_the_cores_among_them() -> None:
    [slot] = slots_of(resources(slots=1))

    assert slot.threads == cores()


@pytest.mark.usefixtures("no_gpu")
def test_more_slots_than_cores_have_one_thread_each() -> None:
    slots = slots_of(Resources(), wanted=cores() + 1)

    assert [slot.threads for slot in slots] == [1] * (cores() + 1)


@pytest.mark.usefixtures("no_gpu")
def test_the_command_line_goes_before_the_file() -> None:
    assert len(slots_of(resources(slots=1), wanted=2)) == 2


@pytest.mark.usefixtures("no_gpu")
def test_a_trial_may_have_several_processes_on_the_cpu() -> None:
    slots = slots_of(resources(devices_per_trial=2))

    assert {slot.ranks for slot in slots} == {2}
    assert {slot.device for slot in slots} == {"cpu x2"}
    assert len(slots) == max(1, cores() // 2)


@pytest.mark.usefixtures("no_gpu")
def test_asking_for_gpus_where_there_are_none_is_refused() -> None:
    with pytest.raises(SpecError, match=r"accelerator: gpu: this machine shows no GPU"):
        slots_of(resources(accelerator="gpu"))


# ---- with GPUs


@pytest.mark.usefixtures("four_gpus")
def test_every_gpu_is_a_slot() -> None:
    slots = slots_of(Resources())

    assert [slot.devices for slot in slots] == [("0",), ("1",), ("2",), ("3",)]
    assert [slot.device for slot in slots] == ["gpu 0", "gpu 1", "gpu 2", "gpu 3"]
    assert {slot.accelerator for slot in slots} == {"gpu"}


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("count", "threads"), [(1, 8), (2, 4), (4, 2)])
def test_slots_of_gpus_share_the_cores(count: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.study.devices.cores", lambda: 8)

    assert {slot.threads for slot in slots_of(resources(slots=count))} == {threads}


@pytest.mark.usefixtures("four_gpus")
def test_a_trial_on_two_gpus_has_two_ranks_and_no_gpu_is_in_two_slots() -> None:
    slots = slots_of(resources(devices_per_trial=2))

    assert [slot.devices for slot in slots] == [("0", "1"), ("2", "3")]
    assert [slot.ranks for slot in slots] == [2, 2]
    assert slots[1].device == "gpu 2,3"


@pytest.mark.usefixtures("four_gpus")
def test_gpus_that_fill_no_slot_are_left_over() -> None:
    assert [slot.devices for slot in slots_of(resources(devices_per_trial=3))] == [("0", "1", "2")]


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("keys", "wanted", "message"),
    [
        ({"slots": 5}, None, "5 slots of 1 GPUs each do not fit on 4 GPUs; at most 4 do"),
        ({}, 5, "5 slots of 1 GPUs each do not fit on 4 GPUs; at most 4 do"),
        ({"devices_per_trial": 2, "slots": 3}, None, "3 slots of 2 GPUs each do not fit on 4 GPUs; at most 2 do"),
        ({"devices_per_trial": 8}, None, "0 slots of 8 GPUs each do not fit on 4 GPUs; at most 0 do"),
    ],
)
def test_more_slots_than_gpus_are_refused(keys: dict[str, object], wanted: int | None, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        slots_of(resources(**keys), wanted=wanted)


@pytest.mark.usefixtures("four_gpus")
def test_a_study_may_ask_for_the_cpu_beside_gpus() -> None:
    assert {slot.device for slot in slots_of(resources(accelerator="cpu"))} == {"cpu"}


# ---- what the machine has


@pytest.mark.parametrize(
    ("value", "gpus"),
    [("", []), ("-1", []), ("3", ["3"]), ("1, 0", ["1", "0"]), ("GPU-8a,GPU-9b", ["GPU-8a", "GPU-9b"])],
)
def test_visible_gpus_are_those_that_cuda_shows(value: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)

    assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("answer", "gpus"),
    [("printf '0\\n1\\n'", ["0", "1"]), ("echo 'No devices were found'", []), ("echo 0; exit 9", []), ("exit 0", [])],
)
def test_gpus_are_listed_by_the_driver(
    answer: str, gpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\n{answer}\n")
    driver.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert visible_gpus() == gpus


def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= cores() <= len(allowed)
