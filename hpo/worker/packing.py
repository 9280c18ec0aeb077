"""How many trials share a GPU at a time: as many as a study file says, or, with `auto`, as many as pay.

`auto` begins with one trial. When that has told how much memory it needs, a second one joins it, and so on, as long as
the memory suffices and each one more raises the throughput. That is measured at equal work: how much longer the same
trials take for an epoch with one more beside them. Where memory runs out all the same, there is one trial less from
then on, and the one that failed is trained again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from hpo.printable import counted
from hpo.study.devices import APPLE, Slot
from hpo.study.gpus import has_mps, total_bytes
from hpo.study.simulated_gpus import are_simulated
from hpo.worker.running_trial import RunningTrial

LEAST_GAIN = 1.1  # of the throughput, by one more trial; less is hardly more than the noise of so few epochs
LEAST_COMPARED, COMPARED = 2, 6  # epochs of a trial, and of all trials together, at each of the two numbers
USED_SHARE = 0.9  # of the memory, at most, by trials as large as the largest so far
CONTEXT_BYTES = 512 * 2**20  # that a process needs for CUDA itself, beside what its allocator tells of

log = logging.getLogger(__name__)


@dataclass
class _Stay:
    """A trial on a GPU that others share."""

    trial: RunningTrial
    most: int = 1  # trials on the GPU at a time since it began, with itself
    reported: int = 0  # epochs
    reported_at: float | None = None  # monotonic, the last of them; before the first one, libraries are loaded
    seconds: dict[int, list[float]] = field(default_factory=dict)  # of epochs, by the number of trials on the GPU


@dataclass
class _Shared:
    """A GPU that several slots share."""

    device: str
    limit: int  # trials at a time
    most: int
    is_settled: bool
    total: int | None  # bytes; None where nobody tells
    stays: dict[int, _Stay] = field(default_factory=dict)  # by the slot's number
    compared: list[tuple[float, int]] = field(default_factory=list)  # of trials that have ended: see `comparison`
    peak: int = 0  # bytes of the largest trial so far
    changed_at: float = 0.0  # monotonic, when a trial last began or ended

    @property
    def fitting(self) -> int:
        """The number of trials, each as large as the largest so far, for which the memory suffices."""
        if self.total is None or not self.peak:
            return self.most
        return max(1, int(USED_SHARE * self.total // self.peak))

    def change(self) -> None:
        """A trial begins or ends: until now, each had its part of the GPU."""
        now = time.monotonic()
        for stay in self.stays.values():
            stay.trial.device_seconds = (stay.trial.device_seconds or 0.0) + (now - self.changed_at) / len(self.stays)
        self.changed_at = now

    def holds_back(self, taken: int) -> bool:
        """Whether one more trial has to wait until it can be told how fast these are without it."""
        is_known = any(len(stay.seconds.get(self.limit - 1, ())) >= LEAST_COMPARED for stay in self.stays.values())
        return not self.is_settled and taken > 0 and taken == self.limit - 1 and not is_known

    def comparison(self, stay: _Stay) -> tuple[float, int] | None:
        """How fast the trial is beside the last one that joined, against without, and in how many epochs; or None."""
        without, beside = (stay.seconds.get(number, []) for number in (self.limit - 1, self.limit))
        count = min(len(without), len(beside))
        return (median(without) / max(median(beside), 1e-9), count) if count >= LEAST_COMPARED else None

    def settle(self) -> None:
        """One trial more or less, when there is enough to tell."""
        if self.is_settled:
            return
        if self.limit > 1:
            found = [*self.compared, *filter(None, map(self.comparison, self.stays.values()))]
            count = sum(epochs for _, epochs in found)
            if count < COMPARED:
                return
            speed = sum(ratio * epochs for ratio, epochs in found) / count
            gain = speed * self.limit / (self.limit - 1)
            text = f"{counted(self.limit, 'trial')} at a time train {gain:.2f} times as fast as {self.limit - 1}"
            if gain < LEAST_GAIN:
                self.limit, self.is_settled = self.limit - 1, True
                log.info("%s: %s: %d from now on", self.device, text, self.limit)
                return
            log.info("%s: %s", self.device, text)
        elif not self.peak:
            return
        if self.limit >= min(self.most, self.fitting):  # the largest trial so far may only become larger
            self.is_settled = True
            return
        self.limit += 1
        self.compared.clear()
        log.info("%s: %s at a time are tried", self.device, counted(self.limit, "trial"))


class Packing:
    """The GPUs of a worker that several of its slots share.

    Args:
        slots: the worker's.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._shared: dict[tuple[str, ...], _Shared] = {}
        for slot in slots:
            if slot.shared_by > 1 and slot.devices not in self._shared:
                self._shared[slot.devices] = _Shared(
                    slot.device,
                    limit=1 if slot.is_probed else slot.shared_by,
                    most=slot.shared_by,
                    is_settled=not slot.is_probed,
                    total=total_bytes(slot.devices) if slot.is_probed and slot.accelerator != APPLE else None,
                )
        if self._shared:
            log.info("%s", _how_shared(list(self._shared.values()), slots))

    def open(self, free: Iterable[Slot]) -> list[Slot]:
        """Those of the free slots in which a trial may begin now, with their share of the GPU."""
        found: list[Slot] = []
        for slot in free:
            shared = self._shared.get(slot.devices)
            if shared is None:
                found.append(slot)
                continue
            limit = min(shared.limit, shared.fitting)
            taken = len(shared.stays) + sum(other.devices == slot.devices for other in found)
            if taken < limit and not shared.holds_back(taken):
                found.append(replace(slot, share=1 / limit))
        return found

    def begin(self, trial: RunningTrial) -> None:
        """The trial has its slot."""
        if (shared := self._shared.get(trial.slot.devices)) is None:
            return
        shared.change()
        shared.stays[trial.slot.number] = _Stay(trial)
        for stay in shared.stays.values():
            stay.most = max(stay.most, len(shared.stays))

    def take_report(self, trial: RunningTrial) -> None:
        """The trial has reported something, perhaps an epoch."""
        shared = self._shared.get(trial.slot.devices)
        stay = None if shared is None else shared.stays.get(trial.slot.number)
        if shared is None or stay is None or trial.reported == stay.reported:
            return
        now, epochs = time.monotonic(), trial.reported - stay.reported
        if stay.reported_at is not None and shared.changed_at <= stay.reported_at:
            stay.seconds.setdefault(len(shared.stays), []).append((now - stay.reported_at) / epochs)
        stay.reported, stay.reported_at = trial.reported, now
        if trial.memory is not None:
            own = 0 if are_simulated() or trial.slot.accelerator == APPLE else CONTEXT_BYTES
            shared.peak = max(shared.peak, trial.memory + own)
        shared.settle()

    def end(self, trial: RunningTrial) -> None:
        """The trial leaves its slot; one whose memory ran out beside others is handed back, to be trained again."""
        shared = self._shared.get(trial.slot.devices)
        if shared is None or trial.slot.number not in shared.stays:
            return
        shared.change()
        count = len(shared.stays)
        stay = shared.stays.pop(trial.slot.number)
        if (comparison := shared.comparison(stay)) is not None:
            shared.compared.append(comparison)
        count = count if count > 1 else stay.most  # the others may just have ended
        if not trial.is_out_of_memory or count < 2:
            return
        trial.excuse(f"out of memory beside {counted(count - 1, 'other trial')} on {shared.device}")
        shared.limit, shared.is_settled = min(shared.limit, count - 1), True
        log.warning(
            "trial %d: %s: it is trained again, and at most %s at a time from now on",
            trial.number, trial.cause, counted(shared.limit, "trial"),
        )  # fmt: skip


def _how_shared(shared: Sequence[_Shared], slots: Sequence[Slot]) -> str:
    """How many trials share which GPUs, and in which way."""
    most, names = max(one.most for one in shared), ", ".join(one.device for one in shared)
    up_to = "up to " if any(slot.is_probed for slot in slots) else ""
    text = f"{names}: {up_to}{counted(most, 'trial')} at a time"
    if are_simulated() or slots[0].accelerator == APPLE:
        return text
    if has_mps():
        return f"{text}, side by side by CUDA's Multi-Process Service"
    return f"{text}, in turns: side by side with CUDA's Multi-Process Service (nvidia-cuda-mps-control -d)"
