"""An archive is written: rows while others read and write the store, then files, and the manifest with their checksums.

What a trial that has not ended can resume from is copied before its rows are read. So it is never newer than they are,
as after a crash, and an attempt trains an epoch a second time rather than leave one out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, func, select

from hpo.archive.manifest import (
    BESIDE_CHECKPOINT,
    MANIFEST,
    ArchivedFile,
    Manifest,
    is_best_of_trial,
    manifest_name,
    table_name,
)
from hpo.archive.rows import Row, StudyRows, names_of
from hpo.store import Store
from hpo.store.tables import hpo_studies, hpo_trials, trials
from hpo.study.artifacts import is_file, size_of
from hpo.study.job import BEST_CHECKPOINT, LAST_CHECKPOINT, PREPROCESSING, RESUME_CHECKPOINTS
from hpo.study.naming import study_folder, trial_folder
from hpo.study.object_store import fetch_study, local_path
from hpo.study.states import OPTUNA_ENDED

OnBytes = Callable[[int, int], None]  # what is done, and what there is to do

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Written:
    """What is in an archive.

    Attributes:
        trials: of the study itself.
        missing: the number of ended trials whose checkpoints the store names, and that are not on this machine.
        changed: the number of checkpoints that are not as their trials wrote them.
    """

    manifest: Manifest
    trials: int
    checkpoints: int
    missing: int
    changed: int


@dataclass
class _Trial:
    """A trial of the archive; `live` is its folder, and `copied` the copy of what it can resume from."""

    study: int
    row: Row  # of hpo_trials
    number: int
    has_ended: bool
    live: Path
    copied: Path

    def files(self) -> list[Path]:
        """Those that are there: of a trial with a checkpoint, and of one that has not ended."""
        if not self.has_ended:
            weights = [self.copied / name for name in (*RESUME_CHECKPOINTS, BEST_CHECKPOINT)]
        elif self._has_kept_checkpoint():
            weights = [self.live / name for name in (BEST_CHECKPOINT, LAST_CHECKPOINT)]
            # Of further folds or repeats.
            weights += sorted(self.live.glob(f"training-*/{BEST_CHECKPOINT}"))
            weights += sorted(self.live.glob(f"training-*/{PREPROCESSING}"))
        else:
            return []
        beside = [self.live / name for name in BESIDE_CHECKPOINT]
        return [path for path in (*weights, *beside) if is_file(path)]

    def _has_kept_checkpoint(self) -> bool:
        named = self.row["checkpoint"]
        return named is not None and Path(named).name == BEST_CHECKPOINT and is_file(self.live / BEST_CHECKPOINT)


@dataclass
class _Entries:
    """The files of a zip that is written, with their sizes and checksums."""

    zipped: zipfile.ZipFile
    files: list[ArchivedFile] = field(default_factory=list)

    def add(self, name: str, blocks: Iterable[bytes], *, is_compressed: bool) -> None:
        info = zipfile.ZipInfo(name, datetime.now(UTC).timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
        digest, size = hashlib.sha256(), 0
        with self.zipped.open(info, "w", force_zip64=True) as entry:
            for block in blocks:
                digest.update(block)
                size += len(block)
                entry.write(block)
        self.files.append(ArchivedFile(name, size, digest.hexdigest()))


def write_archive(
    store: Store,
    study_id: int,
    name: str,
    file: IO[bytes],
    *,
    artifacts: Path,
    versions: Mapping[str, str],
    on_bytes: OnBytes,
) -> Written:
    """Write the archive of a study into a file that is open for it.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.
        versions: of Python and of the packages here.
        on_bytes: is called while checkpoints are copied.

    Raises:
        OSError: a file cannot be read or written.
    """
    with (
        tempfile.TemporaryDirectory(prefix=".hpo-archive-", dir=Path(file.name).parent) as copies,
        zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=1) as zipped,
    ):
        entries = _Entries(zipped)
        _copy_resumable(store, study_id, name, artifacts, Path(copies))
        with store.read() as connection:
            rows = StudyRows.of(connection, study_id, name)
            counts = _write_tables(rows, entries)
            found = _trials(connection, rows, artifacts, Path(copies))
            count = connection.scalar(select(func.count()).where(trials.c.study_id == study_id)) or 0
        checkpoints, missing, changed = _write_files(found, entries, on_bytes)
        entries.add(table_name(hpo_trials.name), _lines(trial.row for trial in found), is_compressed=True)
        counts[hpo_trials.name] = len(found)
        manifest = Manifest(
            study=name,
            studies=tuple(rows.names.values()),
            rows=counts,
            files=tuple(entries.files),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions,
        )
        zipped.writestr(MANIFEST, manifest.to_json())
    return Written(manifest, count, checkpoints, missing, changed)


def _copy_resumable(store: Store, study_id: int, name: str, artifacts: Path, copies: Path) -> None:
    with store.read() as connection:
        folders = _folders(connection, names_of(connection, study_id, name), artifacts)
    for folder in folders.values():
        fetch_study(folder)
    with store.read() as connection:
        waiting = [
            (key, number)
            for key in folders
            for number in connection.scalars(
                select(trials.c.number).where(trials.c.study_id == key, trials.c.state.not_in(OPTUNA_ENDED))
            )
        ]
    for key, number in waiting:
        for file in (*RESUME_CHECKPOINTS, BEST_CHECKPOINT):
            live = folders[key] / trial_folder(number) / file
            if is_file(live):
                copy = copies / str(key) / trial_folder(number) / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # its trial has ended
                    shutil.copyfile(live, copy, follow_symlinks=False)


def _folders(connection: Connection, names: Mapping[int, str], artifacts: Path) -> dict[int, Path]:
    """By their numbers in the store, the folders of the studies that are ours."""
    rows = connection.execute(
        select(hpo_studies.c.study_id, hpo_studies.c.created).where(hpo_studies.c.study_id.in_(names))
    )
    return {row.study_id: artifacts / study_folder(names[row.study_id], row.created) for row in rows}


def _write_tables(rows: StudyRows, entries: _Entries) -> dict[str, int]:
    """All tables but that of our trials, whose rows name their checkpoints; the number of rows of each."""
    counts: dict[str, int] = {}
    for name in rows.tables:
        if name != hpo_trials.name:
            counts[name] = 0
            entries.add(table_name(name), _lines(_counted(rows.of_table(name), counts, name)), is_compressed=True)
    return counts


def _counted(rows: Iterable[Row], counts: dict[str, int], name: str) -> Iterator[Row]:
    for row in rows:
        counts[name] += 1
        yield row


def _lines(rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row).encode() + b"\n"


def _trials(connection: Connection, rows: StudyRows, artifacts: Path, copies: Path) -> list[_Trial]:
    """The rows of our trials, in the snapshot, with the folders of their files."""
    folders = _folders(connection, rows.names, artifacts)
    query = select(trials.c.study_id, trials.c.trial_id, trials.c.number, trials.c.state)
    known: dict[int | None, Any] = {
        rows.number(trials.name, found.trial_id): found
        for found in connection.execute(query.where(trials.c.study_id.in_(rows.names)))
    }
    made = []
    for row in rows.of_table(hpo_trials.name):
        trial = known[row["trial_id"]]
        name = trial_folder(trial.number)
        live = (
            local_path(row["checkpoint"]).parent if row["checkpoint"] else folders.get(trial.study_id, artifacts) / name
        )
        copied = copies / str(trial.study_id) / name
        study = rows.number("studies", trial.study_id)
        assert study is not None
        made.append(_Trial(study, row, trial.number, trial.state in OPTUNA_ENDED, live, copied))
    return made


def _write_files(found: list[_Trial], entries: _Entries, on_bytes: OnBytes) -> tuple[int, int, int]:
    """The numbers of checkpoints in the archive, of those not on this machine, and of those not as they were."""
    by_trial = [(trial, trial.files()) for trial in found]
    total, done = sum(size_of(path) for _, paths in by_trial for path in paths), 0
    checkpoints = missing = changed = 0
    for trial, paths in by_trial:
        named, trial.row["checkpoint"] = trial.row["checkpoint"], None
        for path in paths:
            file = path.name if path.parent in (trial.live, trial.copied) else f"{path.parent.name}/{path.name}"
            name = manifest_name(trial.study, trial_folder(trial.number), file)
            with _opened(path) as source:
                if source is None:  # its trial is no longer among the best
                    continue
                entries.add(
                    name,
                    _blocks(source, partial(_tell, on_bytes, done, total)),
                    is_compressed=path.name in BESIDE_CHECKPOINT,
                )
            done += entries.files[-1].size
            if is_best_of_trial(name):
                checkpoints += 1
                trial.row["checkpoint"] = name if named else None
                changed += trial.has_ended and trial.row["checkpoint_sha256"] not in (None, entries.files[-1].sha256)
        missing += trial.has_ended and named is not None and trial.row["checkpoint"] is None
    return checkpoints, missing, changed


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | None]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file


def _tell(on_bytes: OnBytes, before: int, total: int, size: int) -> None:
    on_bytes(before + size, total)


def _blocks(file: IO[bytes], on_size: Callable[[int], None]) -> Iterator[bytes]:
    size = 0
    while block := file.read(_BLOCK):
        yield block
        size += len(block)
        on_size(size)
