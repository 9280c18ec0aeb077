"""What the page of a trial shows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from hpo.printable import mebibytes
from hpo.queue.progress import find_study
from hpo.report.contents import Plot
from hpo.report.words import shown
from hpo.results.attempt import AttemptRecord
from hpo.results.trial import TrialRecord
from hpo.service.trial_details import trial_details
from hpo.service.trial_log import ENDED
from hpo.store import Store
from hpo.store.tables import hpo_studies
from hpo.study.states import TrialState
from hpo.web.ops.drawing import curve_of_trial, metric_of

TAIL_BYTES = 32 << 10


@dataclass(frozen=True)
class TrialView:
    """A trial.

    Attributes:
        config: its searched parameters first, then the other arguments, with their values in words.
        is_ours: whether it can be steered.
        log: the end of its output; None where this machine has none, and `log_remark` says why.
    """

    record: TrialRecord
    is_ours: bool
    metric: str
    curves: Plot | None
    config: Sequence[tuple[str, str]]
    attempts: Sequence[AttemptRecord]
    log: str | None
    log_is_tail: bool
    log_remark: str
    moment: datetime

    @property
    def is_ended(self) -> bool:
        return self.record.state in ENDED

    @property
    def at(self) -> str:
        """`at epoch 7`."""
        return f"at {self.record.unit} {self.record.best_epoch}" if self.record.best_epoch else ""

    @property
    def memory(self) -> str:
        return "" if self.record.memory is None else mebibytes(self.record.memory)


def read_trial(store: Store, name: str, number: int, *, artifacts: Path) -> TrialView:
    """Read it.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.

    Raises:
        StoreError: there is no such study or trial.
    """
    study_id, objectives = find_study(store, name)
    with store.read() as connection:
        own = connection.scalar(select(hpo_studies.c.study_id).where(hpo_studies.c.study_id == study_id))
    details = trial_details(store, name, number, artifacts=artifacts)
    record = details.record
    log, is_tail = (None, False) if details.log is None else end_of(details.log)
    return TrialView(
        record=record,
        is_ours=own is not None,
        metric=metric_of(objectives),
        curves=curve_of_trial(record, objectives),
        config=[*((key, shown(value)) for key, value in record.params.items()), *_others(record)],
        attempts=details.attempts,
        log=log,
        log_is_tail=is_tail,
        log_remark=_why_no_log(record),
        moment=datetime.now(UTC),
    )


def end_of(log: Path) -> tuple[str, bool]:
    """(the last lines of a file, whether there are more before them)."""
    with log.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - TAIL_BYTES))
        found = file.read(TAIL_BYTES)
    if size > TAIL_BYTES:
        found = found[found.find(b"\n") + 1 :]
    # what a progress bar writes over itself is a line each
    return found.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n"), size > TAIL_BYTES


def _others(record: TrialRecord) -> list[tuple[str, str]]:
    """What is not searched: the classes with their arguments, the length, the seed."""
    found = []
    for key, value in record.config.items():
        if key == "params":
            continue
        if not isinstance(value, Mapping):
            found.append((key, shown(value)))
            continue
        for name, argument in value.items():
            if name not in record.params:
                found.append((key if name == "class" else f"{key}.{name}", shown(argument)))
    return found


def _why_no_log(record: TrialRecord) -> str:
    if record.attempts == 0:
        return "It has none: " + (
            "it waits for a worker." if record.state == TrialState.WAITING else "the trial ended before it began."
        )
    return f"The server's machine has none: the trial was trained by {record.worker}."
