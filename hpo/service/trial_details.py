"""Everything about one trial: its record, its attempts, its log and its files on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo.results.attempt import AttemptRecord
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.service.trial_log import trial_on_this_machine
from hpo.store import Store
from hpo.study.job import LOG

LINES_OF_LOG = 5
MOST_BYTES_OF_END = 1 << 16


@dataclass(frozen=True)
class TrialDetails:
    """What `hpo show` prints.

    Attributes:
        folder: with its checkpoints and its log; None when this machine has none of it.
        files: bytes by the names of the folder's files.
        log_end: the last lines of its output; None when its log is not on this machine.
    """

    study: str
    record: TrialRecord
    attempts: tuple[AttemptRecord, ...]
    folder: Path | None
    files: Mapping[str, int]
    log_end: tuple[str, ...] | None = None

    @property
    def log(self) -> Path | None:
        """The file with its output; None when it is not on this machine."""
        return self.folder / LOG if self.folder is not None and LOG in self.files else None

    def to_json(self) -> dict[str, Any]:
        """What `hpo show --json` prints."""
        return {
            "study": self.study,
            "trial": self.record.to_json(),
            "curve": [{"epoch": epoch, **metrics} for epoch, metrics in self.record.curve],
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "folder": None if self.folder is None else str(self.folder),
            "files": dict(self.files),
        }

    @staticmethod
    def from_json(plain: Mapping[str, Any], *, log_end: Sequence[str] | None) -> TrialDetails:
        """From what `to_json` gives."""
        curve = tuple((point["epoch"], {k: v for k, v in point.items() if k != "epoch"}) for point in plain["curve"])
        return TrialDetails(
            plain["study"],
            replace(TrialRecord.from_json(plain["trial"]), curve=curve),
            tuple(map(AttemptRecord.from_json, plain["attempts"])),
            None if plain["folder"] is None else Path(plain["folder"]),
            plain["files"],
            None if log_end is None else tuple(log_end),
        )


def trial_details(store: Store, study: str, number: int, *, artifacts: Path) -> TrialDetails:
    """Everything about one trial.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.

    Raises:
        StoreError: there is no such study or trial.
    """
    record, folder = trial_on_this_machine(store, study, number, artifacts=artifacts)
    paths = sorted(folder.rglob("*")) if folder is not None else []
    files = {str(path.relative_to(folder)): path.stat().st_size for path in paths if folder and path.is_file()}
    log_end = None
    if folder is not None and LOG in files:
        log_end = tuple(_end_of(folder / LOG).splitlines()[-LINES_OF_LOG:])
    return TrialDetails(study, record, tuple(Study(store, study).attempts(number)), folder, files, log_end)


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_BYTES_OF_END))
        return file.read().decode(errors="replace")
