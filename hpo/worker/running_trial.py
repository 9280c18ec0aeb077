"""A trial that this worker trains: its processes, and its state according to their reports."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from hpo.ipc.fork_server import ForkedProcess
from hpo.ipc.messages import LOST_RANK, SECONDS_FOR_THE_CAUSE
from hpo.queue.claim import Claim
from hpo.study.devices import Slot
from hpo.study.job import BEST_CHECKPOINT, TrialJob
from hpo.study.length import Unit
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.decision import Requested
from hpo.worker.oom_kills import oom_kills

# A rank that dies makes the others fail; their reports may arrive before its exit is noticed.
SECONDS_FOR_SILENT_EXITS = 0.5

# The identity of a file that the trial process has read, and that this process cannot look at.
_UNKNOWN_FILE = (-1, -1)


@dataclass
class RunningTrial:
    """A trial that this worker trains.

    Attributes:
        state: the state in which it will end, as far as is known.
        end: how its attempt will end.
        handed_back: the end of an attempt that is handed back, so that another attempt continues the trial.
        granted: epochs that it may train regardless of its rungs, because it was promoted from the rung at this epoch.
        requested: a pause or stop after this epoch.
        is_decided: its worker has told it to end, and how.
        unwritten: the failure of the disk that ended the attempt, in words.
    """

    claim: Claim
    slot: Slot
    epochs: int
    config: dict[str, Any]
    directory: Path
    claimed_at: float  # monotonic seconds
    oom_kills: int | None = field(default_factory=oom_kills)  # before it
    jobs: list[TrialJob] = field(default_factory=list)
    processes: list[ForkedProcess] = field(default_factory=list)  # none until its files are here
    is_read: bool = False  # all that its processes have sent, which have exited
    epoch: int = 0
    reported: int = 0  # reports of this attempt
    first_epoch_seconds: float = 0.0  # of this attempt
    reached: float | None = None  # epochs or steps, with the part of the present epoch, as it was last reported
    step: int = 0  # batches of the present epoch, likewise
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the last epoch
    value: float | None = None
    best_value: float | None = None
    best_epoch: int | None = None
    losses: dict[int, float] = field(default_factory=dict)  # on the validation part by epoch, which break ties
    best_file_before: tuple[int, int] | None = None  # identity of the best checkpoint's file before that epoch
    is_planned: bool = False  # its learning rate follows a plan
    trainings: int = 1  # on folds or with seeds, whose mean is its value
    training: int = 1  # the present one
    results: list[float] = field(default_factory=list)  # of the trainings that have ended, where there are several
    later: list[float] = field(default_factory=list)  # the curve of a later training than the first
    later_losses: list[float | None] = field(default_factory=list)
    seconds_to_first_step: float | None = None
    memory: int | None = None  # bytes at its peak
    device_seconds: float | None = None  # of a GPU that it shares
    parameters: int | None = None
    samples: float | None = None  # that it trains in an epoch, or step
    trained_from: int = 0  # the epoch or step after which this attempt, or training, goes on
    samples_per_second: float | None = None  # with validation, since then
    measured: dict[str, float] = field(default_factory=dict)  # what its study's constraints name, where it is known
    violations: dict[str, float] = field(default_factory=dict)  # by constraint, see hpo.study.constraints
    checkpoint_sha256: str | None = None
    state: OptunaState = OptunaState.COMPLETE
    end: AttemptEnd = AttemptEnd.DONE
    cause: str | None = None
    error: str | None = None
    handed_back: AttemptEnd | None = None
    is_decided: bool = False
    unwritten: str | None = None
    granted: int = 0
    requested: Requested | None = None
    is_dropped: bool = False  # another worker has taken it over
    is_retried: bool = False  # its attempt failed, and another may follow
    progress_at: float | None = None  # monotonic seconds of the last sign of life; None before the first
    asked: int = 0  # of its processes, which make no progress, so many were asked where they are
    asked_at: float = 0.0  # monotonic seconds, of the last of them
    failed_at: float | None = None  # monotonic seconds
    is_reported: bool = False  # a rank reported the failure, rather than exiting without a report
    is_killed: bool = False
    done: list[ForkedProcess] = field(default_factory=list)  # ranks whose end is known, reported or not

    @property
    def number(self) -> int:
        return self.claim.number

    @property
    def unit(self) -> Unit:
        """What its epochs are."""
        return Unit.of(self.config)

    @property
    def seconds(self) -> float:
        """Of this attempt."""
        return time.monotonic() - self.claimed_at

    @property
    def usage(self) -> dict[str, Any]:
        """The seconds of this attempt, the share that it had of its devices on average, and its memory in bytes."""
        seconds = self.seconds
        share = self.slot.share if self.device_seconds is None else min(1.0, self.device_seconds / max(seconds, 1e-9))
        return {"seconds": seconds, "share": share, "memory": self.memory}

    @property
    def is_out_of_memory(self) -> bool:
        """Whether it failed because memory ran out."""
        return self.state == OptunaState.FAIL and self.end == AttemptEnd.OUT_OF_MEMORY and self.handed_back is None

    @property
    def score(self) -> float | None:
        """The value that it ends with: the best of its curve, if pruned the last; or the mean of several trainings."""
        if self.results:
            return fmean(self.results)
        return {OptunaState.COMPLETE: self.best_value, OptunaState.PRUNED: self.value}.get(self.state)

    @property
    def best_file(self) -> tuple[int, int] | None:
        """The identity of the best checkpoint's file, which each write replaces; None when there is none."""
        try:
            found = (self.directory / BEST_CHECKPOINT).stat()
        except FileNotFoundError:
            return None
        except OSError:  # the disk does not say
            return _UNKNOWN_FILE if self.checkpoint_sha256 is not None else None
        return found.st_ino, found.st_mtime_ns

    @property
    def best_checkpoint(self) -> Path | None:
        """The file with the weights of its best epoch; None when they were not written."""
        found = self.best_file
        is_written = found is not None and found != self.best_file_before and self.best_value is not None
        return self.directory / BEST_CHECKPOINT if is_written else None

    @property
    def has_ended(self) -> bool:
        """Whether its processes, which were started, have all exited."""
        return bool(self.processes) and all(process.status is not None for process in self.processes)

    @property
    def is_complete(self) -> bool:
        """Whether it ends with this attempt, and was neither pruned nor failed."""
        return self.state == OptunaState.COMPLETE and self.handed_back is None

    @property
    def is_ending(self) -> bool:
        """Whether its processes' further reports no longer count."""
        return self.failed_at is not None or self.is_dropped

    @property
    def is_to_be_killed(self) -> bool:
        """Whether its processes are to be killed, without waiting for further reports of the ranks."""
        if self.failed_at is None or self.is_dropped:
            return self.is_dropped
        is_waiting = self.is_reported and len(self.done) < len(self.processes) > 1
        seconds = SECONDS_FOR_THE_CAUSE if self.cause == LOST_RANK else SECONDS_FOR_SILENT_EXITS
        return not is_waiting or time.monotonic() > self.failed_at + seconds

    @property
    def awaits_cause(self) -> bool:
        """Whether a rank has failed by what must have happened in another one, whose report still counts."""
        return self.cause == LOST_RANK and not self.is_dropped

    def fail(self, end: AttemptEnd, cause: str, error: str, *, is_silent: bool = False) -> None:
        """Record the failure; an earlier decision, such as on a diverged objective, stands.

        Any other failure replaces that of a lost connection to another rank.

        Args:
            is_silent: a process exited without a report; that replaces another rank's report of a lost connection.
        """
        if self.failed_at is None:
            self.failed_at = time.monotonic()
        if self.handed_back is not None or self.unwritten is not None:
            return
        is_explained = self.is_reported and (is_silent or (self.awaits_cause and cause != LOST_RANK))
        if self.end == AttemptEnd.DONE or is_explained:
            self.state, self.end, self.cause, self.error = OptunaState.FAIL, end, cause, error
            self.is_reported = not is_silent

    def fail_to_write(self, reason: str) -> None:
        """Record that the disk has ended the attempt; that replaces another rank's report of a lost connection.

        The trial goes on in another attempt, unless this one had trained all of its epochs, or was told to end.

        Args:
            reason: in words.
        """
        self.unwritten = reason
        self.failed_at = self.failed_at or time.monotonic()
        is_over = self.training >= self.trainings and (self.is_decided or self.epoch >= self.epochs)
        if is_over or self.handed_back is not None:
            return
        if self.end in (AttemptEnd.DONE, AttemptEnd.ERROR):
            self.state, self.end, self.error = OptunaState.COMPLETE, AttemptEnd.DONE, None
            self.handed_back, self.cause = AttemptEnd.PAUSED, f"files could not be written: {reason}"

    def excuse(self, cause: str) -> None:
        """Hand it back in place of its failure, for which it is not to blame."""
        self.state, self.end, self.error = OptunaState.COMPLETE, AttemptEnd.DONE, None
        self.handed_back, self.cause = AttemptEnd.PREEMPTED, cause

    def cut_off(self, end: AttemptEnd, cause: str, *, is_rerun: bool = False) -> None:
        """End it now: pruned, failed without an epoch, or, in a re-run of the best trials, complete with its best."""
        self.failed_at = time.monotonic()
        if self.end == AttemptEnd.DONE and self.handed_back is None:
            ended = OptunaState.COMPLETE if is_rerun else OptunaState.PRUNED
            self.state = OptunaState.FAIL if self.value is None else ended
            self.end, self.cause = end, cause

    def hand_back(self, end: AttemptEnd) -> None:
        """End the attempt now, not the trial."""
        self.failed_at = time.monotonic()
        if self.end == AttemptEnd.DONE:
            self.handed_back = end
