"""Trials that share simulated GPUs, on a simulated clock: how many there are at a time, and each one's share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo.queue.claim import Claim
from hpo.study.devices import slots_of
from hpo.study.resources import Resources
from hpo.study.states import AttemptEnd
from hpo.worker.packing import Packing
from hpo.worker.running_trial import RunningTrial

GIB = 2**30
STEP = 0.1  # seconds between two looks at the machine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [0.0]
    with monkeypatch.context() as patched:
        patched.setattr("time.monotonic", lambda: now[0])
        yield now


class Machine:
    """GPUs on which trials train one epoch after the other.

    Args:
        slowdown: of an epoch, which takes a second alone, by the number of trials on the GPU.
        memory: of a trial, by its number, in bytes.
    """

    def __init__(
        self,
        clock: list[float],
        per_device: int | str,
        *,
        slowdown: Callable[[int], float] = lambda beside: 1.0,
        memory: Callable[[int], float] = lambda number: 0.1 * GIB,
        epochs: int = 20,
    ) -> None:
        self.clock = clock
        self.slots = slots_of(Resources.model_validate({"trials_per_device": per_device}))
        self.packing = Packing(self.slots)
        self.running: dict[int, RunningTrial] = {}
        self.progress: dict[int, float] = {}  # epochs, by the slot's number
        self.ended: list[RunningTrial] = []
        self.shares: list[float] = []  # of these
        self.most = 0
        self._numbers = itertools.count()
        self._slowdown, self._memory, self._epochs = slowdown, memory, epochs

    def train(self, seconds: float) -> list[int]:
        """How many trials are trained at a time, at each look."""
        counts = []
        for _ in range(round(seconds / STEP)):
            self.clock[0] += STEP
            for slot in self.packing.open(slot for slot in self.slots if slot.number not in self.running):
                number = next(self._numbers)
                claim = Claim(1, number, number, "packed", attempt_id=number, attempt=1, params={})
                trial = RunningTrial(claim, slot, self._epochs, {}, Path(), self.clock[0])
                self.running[slot.number], self.progress[slot.number] = trial, 0.0
                self.packing.begin(trial)
            counts.append(len(self.running))
            for place, trial in list(self.running.items()):
                beside = sum(other.slot.devices == trial.slot.devices for other in self.running.values())
                before, self.progress[place] = (
                    self.progress[place],
                    self.progress[place] + STEP / self._slowdown(beside),
                )
                if int(self.progress[place]) > int(before):
                    trial.memory = round(self._memory(trial.number))
                    trial.reported += 1
                    self.packing.take_report(trial)
                if self.progress[place] >= self._epochs:
                    self.end(trial)
        return counts

    def end(self, trial: RunningTrial) -> None:
        self.packing.end(trial)
        del self.running[trial.slot.number]
        self.ended.append(trial)
        self.shares.append(trial.usage["share"])


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_SIMULATED_GPUS", "2x16")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("HPO_CORES", "12")


def test_a_number_of_trials_share_each_gpu_and_count_by_their_part(clock: list[float]) -> None:
    machine = Machine(clock, 3)

    assert [slot.devices for slot in machine.slots] == [("0",), ("1",)] * 3
    assert {slot.threads for slot in machine.slots} == {2}
    assert set(machine.train(50)) == {6}
    assert machine.shares == [pytest.approx(1 / 3, abs=0.01)] * 12


def test_as_many_trials_are_packed_as_the_memory_holds(clock: list[float]) -> None:
    machine = Machine(clock, "auto", memory=lambda number: 4 * GIB)

    counts = machine.train(100)

    assert counts[0] == 2  # one on each GPU
    assert counts[-1] == max(counts) == 2 * 3  # 3 x 4 of 16 GiB, of which a tenth stays free


def test_no_more_trials_are_packed_than_raise_the_throughput(clock: list[float]) -> None:
    """A GPU that has room for two trials: three are no faster than two."""
    machine = Machine(clock, "auto", slowdown=lambda beside: max(1.0, beside / 2))

    counts = machine.train(200)

    assert max(counts) == 2 * 3  # they were tried
    assert counts[-1] == 2 * 2


def test_a_gpu_that_one_trial_fills_trains_one_at_a_time(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "hpo.worker.packing"):
        counts = Machine(clock, "auto", slowdown=lambda beside: float(beside)).train(200)

    assert max(counts) == 4
    assert counts[-1] == 2
    assert re.search(r"gpu 0: 2 trials at a time train (0.9|1.0)\d times as fast as 1: 1 from now on", caplog.text)


def test_trials_that_need_more_memory_than_those_before_leave_more_room(clock: list[float]) -> None:
    machine = Machine(clock, "auto", memory=lambda number: (2 if number < 40 else 7) * GIB)

    counts = machine.train(400)

    assert max(counts) == 2 * 6  # as many as there are cores
    assert counts[-1] == 2 * 2


@pytest.mark.parametrize("per_device", [4, "auto"])
def test_a_trial_whose_memory_ran_out_beside_others_is_trained_again_beside_fewer(
    clock: list[float], per_device: int | str
) -> None:
    machine = Machine(clock, per_device)
    machine.train(205)
    trial = next(trial for trial in machine.running.values() if trial.slot.devices == ("0",))
    beside = sum(other.slot.devices == ("0",) for other in machine.running.values()) - 1
    trial.fail(AttemptEnd.OUT_OF_MEMORY, "out of memory", "CUDA out of memory")

    machine.end(trial)

    assert trial.handed_back == AttemptEnd.PREEMPTED
    assert trial.cause == f"out of memory beside {beside} other trials on gpu 0"
    assert trial.error is None
    machine.train(100)
    assert sum(other.slot.devices == ("0",) for other in machine.running.values()) == beside
    assert sum(other.slot.devices == ("1",) for other in machine.running.values()) == beside + 1


def test_a_trial_whose_memory_ran_out_alone_has_failed(clock: list[float]) -> None:
    machine = Machine(clock, "auto")
    machine.train(STEP)
    trial = machine.running[0]
    trial.fail(AttemptEnd.OUT_OF_MEMORY, "out of memory", "CUDA out of memory")

    machine.end(trial)

    assert trial.handed_back is None
    assert trial.is_out_of_memory


def test_the_shares_of_a_gpu_add_up_to_the_time_for_which_it_was_used(clock: list[float]) -> None:
    machine = Machine(clock, "auto", memory=lambda number: 3 * GIB, epochs=7)
    seconds = 61.0
    machine.train(seconds)
    while machine.running:
        machine.end(next(iter(machine.running.values())))

    used = sum(trial.device_seconds or 0.0 for trial in machine.ended)
    assert used == pytest.approx(2 * seconds, abs=4 * STEP)


def test_slots_of_one_trial_each_are_always_open(clock: list[float]) -> None:
    machine = Machine(clock, 1)

    assert set(machine.train(30)) == {2}
    assert set(machine.shares) == {1.0}
    assert all(trial.device_seconds is None for trial in machine.ended)
