"""What a trial process reports to its worker, and what the worker answers: frozen records, JSON lines on the wire.

The trial's side only makes them, so nothing here imports pydantic. The worker validates what it receives with
`hpo.ipc.incoming`: the user's code shares the process that wrote it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

Count = Annotated[int, Ge(0)]
EpochNumber = Annotated[int, Ge(0), Le(2**31 - 1)]  # as large as a database keeps an integer


@dataclass(frozen=True)
class Epoch:
    """An epoch has ended; the trial waits for an `Answer`."""

    kind: ClassVar[str] = "epoch"
    epoch: EpochNumber  # 1 for the first
    value: float | None  # the objective after it; None when it was not finite
    metrics: dict[str, float]  # all that are finite, by name
    seconds: float  # since the attempt began to train


@dataclass(frozen=True)
class Started:
    """The data and the model are built."""

    kind: ClassVar[str] = "started"
    model: dict[str, Any]  # the constructor's arguments, those left to their defaults too
    data: dict[str, Any]
    parameters: Count  # of the model
    from_epoch: EpochNumber  # whose checkpoint it goes on from; 0 from scratch
    executor: str  # what trains it, and why
    curve: list[Epoch]  # the epochs before, as far as the checkpoint has them
    warnings: list[str] = field(default_factory=list)  # of the data module


@dataclass(frozen=True)
class Training:
    """The first step is about to begin."""

    kind: ClassVar[str] = "training"


@dataclass(frozen=True)
class Alive:
    """There were steps since the last sign of life."""

    kind: ClassVar[str] = "alive"


@dataclass(frozen=True)
class Warned:
    """Something that a person should know."""

    kind: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True)
class Failed:
    """The training ended with an error."""

    kind: ClassVar[str] = "failed"
    cause: str  # in a few words: OUT_OF_MEMORY, or 'error: ValueError'
    error: str  # message or traceback
    reason: str = ""  # what was raised, with the lines of the project's own code that led there
    owner: str = "model"  # the part of the study file that is to blame: model or data


@dataclass(frozen=True)
class Done:
    """The training ended well."""

    kind: ClassVar[str] = "done"
    takes_another: bool  # the process is clean, and waits for another job


Report = Epoch | Started | Training | Alive | Warned | Failed | Done
REPORTS: dict[str, type[Report]] = {
    record.kind: record for record in (Epoch, Started, Training, Alive, Warned, Failed, Done)
}

OUT_OF_MEMORY = "out of memory"  # the cause of a `Failed` that `retries: {oom: ...}` is for


@dataclass(frozen=True)
class Answer:
    """What a trial is to do after an epoch."""

    stop: bool = False  # end the training
    save: bool = False  # take the weights as the best so far
    checkpoint: bool = False  # write the whole state, to go on from
    drop: bool = False  # forget the best weights: nobody will need them


def message_of(record: Report | Answer) -> dict[str, Any]:
    """The record as it travels."""
    return asdict(record) if isinstance(record, Answer) else {"kind": record.kind, **asdict(record)}
