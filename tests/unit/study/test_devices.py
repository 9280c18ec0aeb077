"""Slots of a machine's cores and GPUs; the visible GPUs are set by the variable that CUDA itself reads."""

from __future__ import annotations

import os

import pytest
from projects.locking import held_by_another_process

from hpo.errors import SpecError
from hpo.study.devices import Slot, cores, slots_of
from hpo.study.resources import Resources


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
    with pytest.raises(SpecError, match=r"accelerator: gpu: CUDA shows no GPU on this machine"):
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
        ({"slots": 5}, None, "5 slots of 1 GPU each: at most 4 fit on 4 GPUs"),
        ({}, 5, "5 slots of 1 GPU each: at most 4 fit on 4 GPUs"),
        ({"devices_per_trial": 2, "slots": 3}, None, "3 slots of 2 GPUs each: at most 2 fit on 4 GPUs"),
        ({"devices_per_trial": 8}, None, "0 slots of 8 GPUs each: at most 0 fit on 4 GPUs"),
    ],
)
def test_more_slots_than_gpus_are_refused(keys: dict[str, object], wanted: int | None, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        slots_of(resources(**keys), wanted=wanted)


@pytest.mark.usefixtures("four_gpus")
def test_a_study_may_ask_for_the_cpu_beside_gpus() -> None:
    assert {slot.device for slot in slots_of(resources(accelerator="cpu"))} == {"cpu"}


@pytest.mark.usefixtures("four_gpus")
def test_gpus_that_another_worker_holds_are_left_to_it(caplog: pytest.LogCaptureFixture) -> None:
    with held_by_another_process("0", "2") as process:
        slots = slots_of(Resources())
        with pytest.raises(SpecError) as refused:
            slots_of(resources(slots=3))

    assert [slot.devices for slot in slots] == [("1",), ("3",)]
    assert f"gpu 0 is used by process {process} of " in caplog.text
    assert str(refused.value).startswith("3 slots of 1 GPU each: at most 2 fit on 2 GPUs; gpu 0 is used by")
    assert len(slots_of(Resources())) == 4


@pytest.mark.usefixtures("four_gpus")
def test_a_check_may_try_a_batch_beside_a_worker() -> None:
    with held_by_another_process("0", "2"):
        assert len(slots_of(Resources(), also_held=True)) == 4


@pytest.mark.usefixtures("four_gpus")
def test_where_no_gpu_is_free_nothing_trains_on_the_cpu_instead() -> None:
    with held_by_another_process("0", "1", "2", "3"), pytest.raises(SpecError, match="no GPU is free: gpu 0 is used"):
        slots_of(Resources())


def test_a_trial_cannot_use_several_mig_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")

    assert [slot.devices for slot in slots_of(Resources())] == [("MIG-a",), ("MIG-b",)]
    with pytest.raises(SpecError, match="a trial cannot use several MIG instances"):
        slots_of(resources(devices_per_trial=2))


# ---- what the machine has


def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= cores() <= len(allowed)


# ---- trials that share a GPU


@pytest.mark.usefixtures("four_gpus")
def test_trials_that_share_gpus_fill_all_of_them_before_one_has_two() -> None:
    slots = slots_of(resources(trials_per_device=2, slots=6))

    assert [slot.devices for slot in slots] == [("0",), ("1",), ("2",), ("3",), ("0",), ("1",)]
    assert [slot.shared_by for slot in slots] == [2, 2, 1, 1, 2, 2]
    assert [slot.share for slot in slots] == [0.5, 0.5, 1, 1, 0.5, 0.5]
    assert {slot.ranks for slot in slots} == {1}


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("cores_here", "at_a_time"), [("4", 1), ("32", 8), ("256", 16)])
def test_as_many_as_there_are_cores_may_be_tried_and_sixteen_at_most(
    cores_here: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CORES", cores_here)

    slots = slots_of(resources(trials_per_device="auto"))

    assert len(slots) == 4 * at_a_time
    assert {slot.is_probed for slot in slots} == {at_a_time > 1}


@pytest.mark.usefixtures("four_gpus")
def test_more_slots_than_share_the_gpus_are_refused() -> None:
    with pytest.raises(SpecError, match="9 slots of 1/2 GPU each: at most 8 fit on 4 GPUs"):
        slots_of(resources(trials_per_device=2), wanted=9)


@pytest.mark.usefixtures("no_gpu")
def test_on_a_machine_without_gpus_nothing_is_shared() -> None:
    assert slots_of(resources(trials_per_device=2)) == slots_of(Resources())


# ---- Apple's GPU, on a machine that says that it has one


def test_the_gpu_of_a_mac_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")

    [slot] = slots_of(resources(accelerator="mps"))
    shared = slots_of(resources(accelerator="mps", trials_per_device=2))

    assert (slot.device, slot.accelerator) == ("mps", "mps")
    assert [one.device for one in shared] == ["mps", "mps"]


def test_asking_for_the_gpu_of_a_mac_elsewhere_is_refused() -> None:
    with pytest.raises(SpecError, match="mps: this machine has no GPU of Apple's"):
        slots_of(resources(accelerator="mps"))
