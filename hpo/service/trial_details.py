"""Everything about one trial: its record, its attempts, its log and its files on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.results.attempt import AttemptRecord
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.service.trial_log import trial_on_this_machine
from hpo.store import Store
from hpo.study.job import LOG


@dataclass(frozen=True)
class TrialDetails:
    """What `hpo show` prints.

    Attributes:
        folder: with its checkpoints and its log; None when this machine has none of it.
        files: bytes by the names of the folder's files.
    """

    study: str
    record: TrialRecord
    attempts: tuple[AttemptRecord, ...]
    folder: Path | None
    files: Mapping[str, int]

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
    return TrialDetails(study, record, tuple(Study(store, study).attempts(number)), folder, files)
