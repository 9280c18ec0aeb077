"""The answers of `/api/v1`, as its document describes them: the records that `--json` prints."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from hpo.study.states import StudyState, TrialState


class TrialAnswer(BaseModel):
    """A trial, without its curve; see `hpo.TrialRecord`."""

    number: int
    state: TrialState
    value: float | None = Field(description="The objective at its best epoch so far.")
    values: list[float | None] = Field(description="Of each objective.")
    params: dict[str, Any] = Field(description="The searched parameters that were active.")
    config: dict[str, Any]
    epochs: int
    best_epoch: int | None
    seconds: float | None
    attempts: int
    causes: list[str | None] = Field(description="How its attempts ended; null for one that runs.")
    cause: str | None
    error: str | None
    device: str | None
    worker: str | None
    checkpoint: str | None
    checkpoint_sha256: str | None
    started: str | None
    ended: str | None
    before_change: str | None
    provenance: dict[str, Any] | None = Field(None, description="Only of a trial that is asked for by its number.")
    memory: int | None = Field(description="Bytes at its peak.")
    violations: dict[str, float | None] = Field(description="By constraint; above 0, the trial is infeasible.")
    expected: float | None = Field(None, description="With `by=expected` only.")
    expected_low: float | None = None
    expected_high: float | None = None
    max_epochs: int | None
    unit: str = Field(description="What its epochs are: epoch or step.")
    feasible: bool


class WorkerAnswer(BaseModel):
    """A worker that is alive."""

    name: str
    slots: int
    running: int = Field(description="Trials that it trains; within a study's status, of that study.")
    seconds_since_beat: float


class ToldAnswer(BaseModel):
    """The notifications of a study."""

    sent: int
    waiting: int
    given_up: int
    error: str | None = Field(description="The last one.")
    oldest: float = Field(description="Seconds for which the oldest has waited.")


class StudyAnswer(BaseModel):
    """A study's state, progress and workers; see `hpo.StudyStatus`."""

    study: str
    state: StudyState
    reason: str | None
    counts: dict[str, int] = Field(description="Trials by their state.")
    budget: dict[str, dict[str, float | None]] = Field(description="By limit: its target, and what is spent of it.")
    best: TrialAnswer | None
    workers: list[WorkerAnswer]
    waiting_for: str | None = Field(description="What keeps it from going on.")
    foreign: int
    on_front: int | None
    notifications: ToldAnswer | None


class KeptAnswer(BaseModel):
    """The checkpoints that a study keeps of its ended trials."""

    trials: int
    elsewhere: int = Field(description="Of these, on other machines.")
    size: int = Field(description="Bytes of the others.")


class StatusAnswer(StudyAnswer):
    """The same, with the checkpoints that are kept."""

    kept: KeptAnswer


class TrialsAnswer(BaseModel):
    """A page of the trials that were asked for."""

    total: int = Field(description="Of all pages.")
    offset: int
    limit: int
    trials: list[TrialAnswer]


class BestAnswer(BaseModel):
    """The best trials, the best first."""

    objectives: list[str]
    trials: list[TrialAnswer]
    are_infeasible: bool = Field(description="There is none, since those with a value violate a constraint.")


class TableAnswer(BaseModel):
    """Columns of trials: by the column's name, the value of each trial."""

    columns: dict[str, list[Any]]


class AttemptAnswer(BaseModel):
    """An attempt to train a trial."""

    number: int
    end: str | None
    cause: str | None
    error: str | None
    from_epoch: int | None
    device: str | None
    worker: str
    started: str
    seconds: float | None


class DetailsAnswer(BaseModel):
    """Everything about one trial."""

    study: str
    trial: TrialAnswer
    curve: list[dict[str, int | float | None]] = Field(
        description="An entry an epoch: `epoch`, and the metrics by name."
    )
    attempts: list[AttemptAnswer]
    folder: str | None = Field(description="Of its files on the server's machine.")
    files: dict[str, int] = Field(description="Bytes by name.")
    log_end: list[str] | None = Field(description="The last lines of its log, where that is on the server's machine.")


class CurveAnswer(BaseModel):
    """A trial's curve."""

    unit: str = Field(description="What `epoch` counts: epochs or steps.")
    curve: list[dict[str, int | float | None]]


class LogAnswer(BaseModel):
    """A part of a trial's log."""

    state: TrialState
    path: str
    left_out: int = Field(description="Bytes that were left out of the middle of a log that was too long.")
    text: str
    next_offset: int = Field(description="Where the next part begins, in bytes.")
    is_last: bool = Field(description="There was no more when this was read.")


class FindingAnswer(BaseModel):
    """What was found out about a study."""

    kind: str
    created: datetime
    content: dict[str, Any]


class DoneAnswer(BaseModel):
    """What was done, in words."""

    message: str


class SubmittedAnswer(DoneAnswer):
    """A study that was created, continued or extended."""

    study: str
    notes: list[str] = Field(description="What should be known about it.")


class EnqueuedAnswer(DoneAnswer):
    """The numbers of the trials at the points, in their order."""

    trials: list[int]


class BelongingsAnswer(BaseModel):
    """What goes with a study that is deleted."""

    study: str
    trials: int
    folders: list[str]
    size: int = Field(description="Bytes of the folders.")
    referring: list[str] = Field(description="Studies whose trials start from weights of it.")
    reruns: list[str] = Field(description="Studies that train its best trials again, and that stay.")
    homes: list[str]


class DeletedAnswer(BaseModel):
    """What is gone."""

    study: str
    trials: int
    size: int
    problems: list[str] = Field(description="What could not be removed.")
