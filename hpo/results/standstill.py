"""Why no trial of a study is trained, when none is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpo.printable import counted
from hpo.queue.progress import Progress


@dataclass(frozen=True)
class SlotsInUse:
    """The slots of the workers that send heartbeats.

    Attributes:
        workers: their number.
        slots: of all of them.
        busy: by study_id, how many of the slots train its trials.
    """

    workers: int = 0
    slots: int = 0
    busy: Mapping[int, int] = field(default_factory=dict)

    @property
    def are_full(self) -> bool:
        """Whether every slot trains something."""
        return sum(self.busy.values()) >= self.slots


def standstill(study_id: int, name: str, progress: Progress, slots: SlotsInUse) -> str | None:
    """What keeps a study of ours from going on, and what to do about it; None while it goes on, and when it is over."""
    counts, own = progress.counts, slots.busy.get(study_id, 0)
    if progress.created is None or progress.is_over:
        return None
    if counts.running > own and own == 0 and slots.workers == 0:
        return (
            f"the workers of {counted(counts.running, 'running trial')} have sent no heartbeat for a while: another "
            f"worker goes on with {'it' if counts.running == 1 else 'them'} ('hpo worker {name}')"
        )
    if (waits := progress.waiting_for(name, has_worker=slots.workers > 0)) is not None:
        return waits
    if counts.running:
        return None
    if progress.limit is not None:
        return f"{progress.limit}: a worker ends {counted(counts.begun, 'trial')} that had begun"
    if slots.are_full:
        return (
            f"no slot is free: {counted(slots.slots, 'slot')} of {counted(slots.workers, 'worker')} train other studies"
        )
    if counts.paused and counts.paused == counts.begun and counts.claimed >= counts.target and not counts.waiting:
        return f"its last {counted(counts.paused, 'trial')} wait at a rung: a worker promotes the best of them"
    free = counted(slots.slots - sum(slots.busy.values()), "slot")
    return (
        f"{free} free, and no trial has begun there: the worker is starting, trains other studies only, "
        "or cannot train this one (its output says why)"
    )
