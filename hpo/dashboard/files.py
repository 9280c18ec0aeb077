"""Files of a trial, as artifacts of optuna-dashboard, read when they are opened: its curve, the end of its log, and of
the trial that won the confusion matrix of its final model.

Nothing is copied or written for them. They are named by ids that no artifact of Optuna's has, which are random.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sqlalchemy import Engine, select

from hpo.dashboard.finals import confusion_table
from hpo.store.tables import hpo_epochs, hpo_studies, studies, trials
from hpo.study.artifacts import folders_of, is_file
from hpo.study.job import LOG
from hpo.study.naming import study_folder, trial_folder

if TYPE_CHECKING:
    from optuna.artifacts import FileSystemArtifactStore

MOST_BYTES = 256 << 10  # of a log that are shown
_PREFIX = "artifacts:"  # of Optuna's attribute
_ID = re.compile(r"00000000-0000-0000-([123])000-([0-9a-f]{12})")
_CURVE, _LOG, _CONFUSION = "1", "2", "3"
_FILES = {
    _CURVE: ("curve.csv", "text/csv"),
    _LOG: ("log.txt", "text/plain"),
    _CONFUSION: ("confusion.csv", "text/csv"),
}


def attributes_of_files(trial_id: int, *, has_curve: bool, has_confusion: bool) -> dict[str, str]:
    """Optuna's attributes of a trial that has begun, by which optuna-dashboard lists its files."""
    found = {}
    for kind in (*([_CURVE] if has_curve else []), _LOG, *([_CONFUSION] if has_confusion else [])):
        name, mimetype = _FILES[kind]
        its = f"00000000-0000-0000-{kind}000-{trial_id:012x}"
        about = {"artifact_id": its, "filename": name, "mimetype": mimetype, "encoding": None}
        found[_PREFIX + its] = json.dumps(about)
    return found


class TrialFiles:
    """An artifact store of Optuna's kind, which reads: our files of trials, and what Optuna's scripts have attached.

    Args:
        attached: the artifacts of Optuna's scripts.
        artifacts: the folder for checkpoints and logs on this machine.
    """

    def __init__(self, engine: Engine, artifacts: Path, attached: FileSystemArtifactStore) -> None:
        self._engine = engine
        self._artifacts = artifacts
        self._attached = attached

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The contents of a file."""
        if (ours := _ID.fullmatch(artifact_id)) is None:
            return self._attached.open_reader(artifact_id)
        read = {_CURVE: self._curve, _LOG: self._log, _CONFUSION: self._confusion}[ours[1]]
        return io.BytesIO(read(int(ours[2], 16)))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep a file that a user of optuna-dashboard attaches."""
        self._artifacts.mkdir(parents=True, exist_ok=True)
        self._attached.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove an attached file; ours go with their trial."""
        if _ID.fullmatch(artifact_id) is None:
            self._attached.remove(artifact_id)

    def _curve(self, trial_id: int) -> bytes:
        """All metrics of each epoch, a line each."""
        columns = (hpo_epochs.c.epoch, hpo_epochs.c.seconds, hpo_epochs.c.metrics)
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(*columns).where(hpo_epochs.c.trial_id == trial_id).order_by(hpo_epochs.c.epoch)
            ).all()
        metrics: list[dict[str, Any]] = [json.loads(row.metrics) for row in rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", "seconds", *sorted({name for each in metrics for name in each})])
        writer.writeheader()
        writer.writerows(
            {"epoch": row.epoch, "seconds": round(row.seconds, 3), **each}
            for row, each in zip(rows, metrics, strict=True)
        )
        return text.getvalue().encode()

    def _log(self, trial_id: int) -> bytes:
        """The end of the trial's log, from the beginning of a line."""
        named = (
            select(studies.c.study_name, hpo_studies.c.created, trials.c.number)
            .join_from(trials, studies, studies.c.study_id == trials.c.study_id)
            .join(hpo_studies, hpo_studies.c.study_id == studies.c.study_id)
            .where(trials.c.trial_id == trial_id)
        )
        with self._engine.connect() as connection:
            row = connection.execute(named).first()
        homes = [] if row is None else folders_of(self._artifacts, study_folder(row.study_name, row.created))
        for path in (home / trial_folder(row.number) / LOG for home in homes if row is not None):
            if is_file(path):
                return _end_of(path)
        return b"This machine does not have the trial's log: another one trained it, or it was removed.\n"

    def _confusion(self, trial_id: int) -> bytes:
        with self._engine.connect() as connection:
            study_id = connection.scalar(select(trials.c.study_id).where(trials.c.trial_id == trial_id))
            return b"" if study_id is None else confusion_table(connection, study_id).encode(errors="backslashreplace")


def _end_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - MOST_BYTES))
            text = file.read(MOST_BYTES)
    except OSError as error:
        return f"The trial's log cannot be read: {error.strerror}.\n".encode()
    if size <= MOST_BYTES:
        return text
    return f"[the last {MOST_BYTES >> 10} KiB of {size:,} bytes]\n".encode() + text[text.find(b"\n") + 1 :]
