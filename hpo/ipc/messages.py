"""The reports of a trial process and the answers of its worker: frozen records, JSON lines on the wire.

The trial's side only creates reports, so nothing here imports pydantic. The worker validates them with
`hpo.ipc.incoming`, because they come from a process that runs the user's code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

Count = Annotated[int, Ge(0)]
Seconds = Annotated[float, Ge(0)]
EpochNumber = Annotated[int, Ge(0), Le(2**31 - 1)]  # the largest integer of a database column


@dataclass(frozen=True)
class Epoch:
    """An epoch has ended, or a validation of a trial in steps; the trial waits for an `Answer`."""

    kind: ClassVar[str] = "epoch"
    epoch: EpochNumber  # 1 for the first; or the step
    value: float | None  # the objective after it; None when it was not finite, or not logged
    metrics: dict[str, float]  # all finite ones, by name
    seconds: float  # since the attempt began to train
    is_judged: bool = True  # the objective was logged
    memory: Count | None = None  # bytes at its peak, on its device


@dataclass(frozen=True)
class Started:
    """The data and the model are built."""

    kind: ClassVar[str] = "started"
    model: dict[str, Any]  # the constructor's arguments, including defaults
    data: dict[str, Any]
    parameters: Count  # of the model
    from_epoch: EpochNumber  # whose checkpoint it resumes from; 0 from scratch
    executor: str  # which executor trains it, and why
    curve: list[Epoch]  # the earlier epochs, as far as the checkpoint has them
    training: Annotated[int, Ge(1)] = 1  # of the trial's trainings, on folds or with seeds
    warnings: list[str] = field(default_factory=list)  # of the data module
    unusable: list[str] = field(default_factory=list)  # checkpoints that it could not resume from, and why


@dataclass(frozen=True)
class Training:
    """The first step is about to begin."""

    kind: ClassVar[str] = "training"
    is_planned: bool = False  # the learning rate follows a plan up to the last epoch
    samples: Annotated[float, Ge(0)] | None = None  # of one of its epochs, or steps; None where that is not known


@dataclass(frozen=True)
class Probed:
    """What is known of the configuration before it trains, where the study has constraints; waits for an `Answer`."""

    kind: ClassVar[str] = "probed"
    parameters: Count  # of the model
    inference_ms: Annotated[float, Ge(0)] | None = None  # median time of a batch's forward; after the first batch
    memory: Count | None = None  # bytes at its peak; likewise


@dataclass(frozen=True)
class Alive:
    """There were steps since the last message."""

    kind: ClassVar[str] = "alive"
    reached: Annotated[float, Ge(0)] | None = None  # epochs, with the share of the present one that is done; or steps
    step: Count = 0  # training batches of the epoch that are done


@dataclass(frozen=True)
class Measured:
    """An epoch of a few batches was timed, of a configuration that is tried out."""

    kind: ClassVar[str] = "measured"
    epoch_seconds: Seconds  # from the end of the one before, with its validation
    batches: Count  # that it trained
    batch_seconds: Seconds  # of one of them after the first
    validation_batches: Count
    validation_batch_seconds: Seconds
    all_batches: Count | None  # of a whole epoch; None where the loader has no length
    all_validation_batches: Count | None  # of a whole validation
    validation_samples: Count | None  # None where the loader does not say
    weights_bytes: Count  # of the file with the weights of the best epoch
    state_bytes: Count  # of the file to resume from, with the state of the optimizer

    @property
    def whole_epoch_seconds(self) -> float | None:
        """What all batches of an epoch and its validation will take; None where their numbers are not known."""
        if self.all_batches is None or self.all_validation_batches is None or not self.batch_seconds:
            return None
        return self.all_batches * self.batch_seconds + self.all_validation_batches * self.validation_batch_seconds


@dataclass(frozen=True)
class Warned:
    """A warning for a person to see."""

    kind: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True)
class Failed:
    """The training ended with an error."""

    kind: ClassVar[str] = "failed"
    cause: str  # short: OUT_OF_MEMORY, or 'error: ValueError'
    error: str  # message or traceback
    reason: str = ""  # the exception, with the lines of the project's own code that led to it
    owner: str = "model"  # the place in the study file that caused it: model, data, model.net, ...


@dataclass(frozen=True)
class Trained:
    """One of the trial's trainings, on a fold or with a seed, has ended; the trial waits for an `Answer`."""

    kind: ClassVar[str] = "trained"


@dataclass(frozen=True)
class Done:
    """The training ended without an error."""

    kind: ClassVar[str] = "done"
    takes_another: bool  # the process is clean, and accepts another job
    checkpoint_sha256: str | None = None  # of the best weights' file; None if there is none


Report = Epoch | Started | Training | Probed | Trained | Alive | Measured | Warned | Failed | Done
REPORTS: dict[str, type[Report]] = {
    record.kind: record for record in (Epoch, Started, Training, Probed, Trained, Alive, Measured, Warned, Failed, Done)
}

OUT_OF_MEMORY = "out of memory"  # the cause of a `Failed` that `retries: {oom: ...}` is for
LOST_RANK = "error: lost the connection to another rank"  # of a `Failed` that any other end of a rank explains
SECONDS_FOR_THE_CAUSE = 5.0  # a rank that raises may take so long to report it, after its connections are closed
UNWRITABLE = "files could not be written"  # the cause of a `Failed` that does not count: the disk is to blame
# The exit code of a trial process in which the connection to its worker was closed; of sysexits.h, EX_PROTOCOL.
EXIT_WITHOUT_CONNECTION = 76


@dataclass(frozen=True)
class Answer:
    """What a trial must do after an epoch."""

    stop: bool = False  # end the training
    is_trained: bool = False  # it ended as it should, and another of the trial's trainings may follow
    save: bool = False  # keep the weights as the best so far
    checkpoint: bool = False  # write the whole state, to resume from
    drop: bool = False  # discard the best weights: they will not be needed


def message_of(record: Report | Answer) -> dict[str, Any]:
    """The record as a message."""
    return asdict(record) if isinstance(record, Answer) else {"kind": record.kind, **asdict(record)}
