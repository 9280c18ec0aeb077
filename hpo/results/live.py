"""What goes on in a store at one moment, as plain records: studies, workers, running trials, the last failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hpo.study.length import Unit
from hpo.study.states import Direction, Request, StudyState


@dataclass(frozen=True)
class LiveStudy:
    """A study.

    Attributes:
        state: as requested, or `done` when it has all its trials or has reached a limit.
        reason: for the state, in words.
        counts: trials by `TrialState`.
        target: the number of trials that it may have; None where it has no limit of them.
        limits: the other limits that it has, by name: hours, gpu_hours, target, patience.
        spent: of each of these, and of `trials`; left out where it is not known.
        metric: its objective; the leading one of several. None of a study of another program.
        best_value, best_number: of its best trial; None before an epoch has ended, and of several objectives.
        on_front: of several objectives, how many trials no other one beats.
        seconds_left: how long it is expected to take from now, at least and at most: eight of ten ways in which it may
            go on lie between them. None where no end is in sight.
        waiting_for: why no trial of it is trained, and what to do about it; None while one is, and when it is over.
    """

    name: str
    state: StudyState
    reason: str | None
    counts: Mapping[str, int]
    target: int | None
    limits: Mapping[str, float]
    spent: Mapping[str, float]
    priority: float
    metric: str | None
    direction: Direction
    best_value: float | None
    best_number: int | None
    on_front: int | None
    seconds_left: tuple[float, float] | None
    waiting_for: str | None
    is_ours: bool = True  # not another program's


@dataclass(frozen=True)
class LiveWorker:
    """A worker that has not ended.

    Attributes:
        started: seconds since 1970, UTC, by the store's clock.
        seconds_since_beat: of its last heartbeat.
        busy: how many of its slots train a trial.
        is_lost: it has been silent for more than two leases.
    """

    worker_id: int
    host: str
    pid: int
    slots: int
    started: float
    seconds_since_beat: float
    busy: int
    is_lost: bool

    @property
    def name(self) -> str:
        """`host:process`."""
        return f"{self.host}:{self.pid}"


@dataclass(frozen=True)
class LiveTrial:
    """A trial that is trained now.

    Attributes:
        worker: `host:process`.
        slot: of the worker.
        device: such as `cpu` or `cuda:0`.
        devices: their number.
        share: of each of its devices.
        attempt: 1 for the first.
        epoch: that it has reached, or step; max_epochs may be None at first.
        metrics: after it, by name.
        value: the objective after it.
        curve: (epoch, objective) of the last epochs, the latest last.
        lease_left: seconds until its lease runs out, unless its worker renews it.
        memory: bytes at the peak of its earlier attempts; None where there are none, or it is not known.
        seconds: since this attempt began.
        samples_per_second: that it trains, where it says so.
        request: what a person has asked of it, which it does after its epoch.
        params: that are searched.
    """

    study: str
    number: int
    worker_id: int
    worker: str
    slot: int
    device: str | None
    devices: int
    share: float
    attempt: int
    unit: Unit
    epoch: int
    max_epochs: int | None
    metric: str | None
    metrics: Mapping[str, float]
    value: float | None
    curve: Sequence[tuple[int, float]]
    lease_left: float
    memory: int | None
    seconds: float
    samples_per_second: float | None
    request: Request | None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LiveFailure:
    """An attempt that has failed.

    Attributes:
        kind: an `AttemptEnd`.
        cause: in a few words.
        error: the failure in a line.
        ended: seconds since 1970, UTC, by the store's clock.
    """

    study: str
    number: int
    attempt: int
    kind: str
    cause: str
    error: str
    ended: float


@dataclass(frozen=True)
class LiveView:
    """All of it, of one snapshot of the store.

    Attributes:
        moment: seconds since 1970, UTC, by the store's clock.
        studies: the oldest first.
        workers: those that send heartbeats first.
        trials: by study, worker and slot.
        failures: the latest first.
    """

    moment: float
    studies: Sequence[LiveStudy]
    workers: Sequence[LiveWorker]
    trials: Sequence[LiveTrial]
    failures: Sequence[LiveFailure]

    def study(self, name: str) -> LiveStudy | None:
        """The study of this name; None without one."""
        return next((study for study in self.studies if study.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)
