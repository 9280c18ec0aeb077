"""A trial that this worker trains: what its processes are told, and what is known of it from what they said."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.channel import Message
from hpo.definition import OWNERS, Definition
from hpo.devices import Slot
from hpo.processes import ForkedProcess
from hpo.queue import Claim
from hpo.weights import with_checkpoints

# A rank that dies without a word makes the others fail; their words may arrive before the news of its death.
SECONDS_FOR_SILENT_DEATHS = 0.5

BEST_CHECKPOINT = "best.ckpt"
# The state after the last epochs: when the newer file cannot be read, an attempt goes on from the older one.
RESUME_CHECKPOINTS = ("last.ckpt", "previous.ckpt")

Wish = Literal["pause", "stop", "kill"]


@dataclass
class RunningTrial:
    """A trial that this worker trains.

    Attributes:
        state: what it will end as, as far as is known.
        kind: how its attempt ends, for retries: done, crash, oom, stalled, error, overtime, diverged, killed.
        back: the kind of end with which it is handed back, to be gone on with: preempted, paused or held.
        granted: epochs that it may train without being held at a rung: those of the rung from which it was promoted.
        wish: what is to become of it after this epoch, or at once; and why.
    """

    claim: Claim
    slot: Slot
    epochs: int
    config: dict[str, Any]
    directory: Path
    claimed_at: float  # monotonic seconds
    processes: list[ForkedProcess] = field(default_factory=list)
    epoch: int = 0
    value: float | None = None
    best_value: float | None = None
    best_epoch: int | None = None
    seconds_to_first_step: float | None = None
    parameters: int | None = None
    state: str = "COMPLETE"
    kind: str = "done"
    cause: str | None = None
    error: str | None = None
    back: str | None = None
    granted: int = 0
    wish: Wish | None = None
    wish_cause: str | None = None
    is_dropped: bool = False  # another worker has taken it over
    is_retried: bool = False  # its attempt failed, and another may follow
    progress_at: float | None = None  # monotonic seconds of the last sign of life; None before the first
    failed_at: float | None = None  # monotonic seconds
    is_told: bool = False  # the failure is what a rank said, not its death without a word
    is_killed: bool = False
    done: list[ForkedProcess] = field(default_factory=list)  # ranks whose end is known, in their own words or without

    @property
    def number(self) -> int:
        return self.claim.number

    @property
    def seconds(self) -> float:
        """Of this attempt."""
        return time.monotonic() - self.claimed_at

    @property
    def is_ending(self) -> bool:
        """Whatever its processes still say does not count."""
        return self.failed_at is not None or self.is_dropped

    @property
    def is_to_be_killed(self) -> bool:
        """No rank will come to an end that is worth waiting for."""
        if self.failed_at is None or self.is_dropped:
            return self.is_dropped
        is_waiting = self.is_told and len(self.processes) > 1
        return not is_waiting or time.monotonic() > self.failed_at + SECONDS_FOR_SILENT_DEATHS

    def fail(self, kind: str, cause: str, error: str, *, is_silent: bool = False) -> None:
        """Note how it failed; what was decided before, such as a diverged objective, stands.

        Args:
            is_silent: a process died; that explains what another rank said before of a lost connection.
        """
        if self.failed_at is None:
            self.failed_at = time.monotonic()
        if self.back is not None:
            return
        if self.kind == "done" or (self.is_told and is_silent):
            self.state, self.kind, self.cause, self.error, self.is_told = "FAIL", kind, cause, error, not is_silent

    def end_with_what_it_has(self, kind: str, cause: str) -> None:
        """End it now: pruned at the last epoch, or failed when it has none."""
        self.failed_at = time.monotonic()
        if self.kind == "done" and self.back is None:
            self.state = "FAIL" if self.value is None else "PRUNED"
            self.kind, self.cause = kind, cause

    def hand_back(self, kind: str) -> None:
        """End the attempt now, not the trial."""
        self.failed_at = time.monotonic()
        if self.kind == "done":
            self.back = kind


def trial_jobs(
    definition: Definition,
    config: Mapping[str, Any],
    *,
    trial: int,
    slot: Slot,
    project: Path,
    directory: Path | None,
    attempt: int = 1,
    batches: int | None = None,
) -> list[Message]:
    """What each rank of a trial is to do.

    Args:
        config: with `weights` where arguments name the checkpoints of other trials.
        directory: for its log and checkpoints; None keeps nothing.
        attempt: from the second on, it goes on from the last checkpoint that can be read.
        batches: train and validate on so many only, to try the configuration out.
    """
    spec = definition.spec
    job: Message = {
        "kind": "trial",
        "trial": trial,
        "study": spec.study,
        "project": str(project),
        "metric": spec.goal.metric,
        "epochs": config["epochs"],
        "seed": config["seed"],
        "precision": spec.resources.precision,
        "strategy": spec.resources.strategy,
        "executor": spec.executor,
        "accelerator": slot.accelerator,
        "devices": slot.devices,
        "threads": slot.threads,
        "ranks": slot.ranks,
        "rendezvous": str(directory / f"rendezvous-{attempt}") if directory else None,
        "directory": str(directory) if directory else None,
        "root": str(directory) if directory else None,
        "log": str(directory / "log.txt") if directory else None,
        "resume": [str(directory / name) for name in RESUME_CHECKPOINTS] if directory and attempt > 1 else [],
        "batches": batches,
        "is_reusable": spec.reuse_processes and slot.ranks == 1,
    }
    for owner in OWNERS:
        arguments = {name: value for name, value in config[owner].items() if name != "class"}
        arguments = with_checkpoints(arguments, config.get("weights", {}))
        job[owner] = {"class": config[owner]["class"], "arguments": arguments}
    return [{**job, "rank": rank} for rank in range(slot.ranks)]
