"""Checkpoints: the files named in the store that this machine should have, and files that no trial names."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update

from hpo.doctor.disk import free_space
from hpo.doctor.finding import CheckContext, Finding, listed
from hpo.printable import counted, mebibytes
from hpo.results.artifacts import Leftover, survey
from hpo.results.removal import remove_leftovers
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_trials, hpo_workers, studies, trials
from hpo.study.artifacts import sha256_of
from hpo.study.object_store import is_address

_LOCAL_HEADER_BYTES = 30
_LOCAL_HEADER = b"PK\x03\x04"


@dataclass(frozen=True)
class _Named:
    """A checkpoint named in the store."""

    study: str
    number: int
    path: Path
    trial_id: int
    sha256: str | None

    def __str__(self) -> str:
        return f"trial {self.number}"


def check_checkpoints(context: CheckContext) -> Iterator[Finding]:
    """Each checkpoint named in the store, if the trial ran on this machine: the file is there, as it was written."""
    with context.store.read() as connection:
        named = _named(connection, context.host)
    missing = [checkpoint for checkpoint in named if not checkpoint.path.exists()]
    unmounted = [checkpoint for checkpoint in missing if not _root(checkpoint.path).is_dir()]
    gone = [checkpoint for checkpoint in missing if checkpoint not in unmounted]
    damaged = 0
    for root in sorted({_root(checkpoint.path) for checkpoint in unmounted}):
        count = sum(_root(checkpoint.path) == root for checkpoint in unmounted)
        remedy = "mount it, or move it back; --repair forgets no checkpoint while the whole folder is missing"
        what = f"the folder of {counted(count, 'checkpoint')} is missing"
        yield Finding("problem", "checkpoints", what, str(root), remedy)
    for study in dict.fromkeys(checkpoint.study for checkpoint in gone):
        mine = [checkpoint for checkpoint in gone if checkpoint.study == study]
        yield Finding(
            "problem",
            "checkpoints",
            f"the file of {listed([f'{found} ({found.path})' for found in mine], most=3)} is missing",
            study,
            "put it back, or let hpo doctor --repair remove it from the store: results stay, the weights are lost",
            partial(_forget, study=study, gone=mine),
        )
    for checkpoint in named:
        reason = _change(checkpoint) if checkpoint.path.exists() else None
        if reason is not None:
            damaged += 1
            yield Finding(
                "problem",
                "checkpoints",
                f"{checkpoint}: {checkpoint.path} {reason}",
                checkpoint.study,
                "put back a copy; or delete the file, and hpo doctor --repair removes it from the store",
            )
    whole = len(named) - len(missing) - damaged
    yield Finding("ok", "checkpoints", f"{whole} of {len(named)} on this machine are intact", str(context.artifacts))


def check_leftovers(context: CheckContext) -> Iterator[Finding]:
    """Files and folders among the artifacts that belong to no trial of the store."""
    if not context.artifacts.is_dir():
        return
    yield free_space(context.artifacts, "artifacts")
    uses = survey(context.store, context.artifacts)
    if ours := [leftover for use in uses if use.kept is None for leftover in use.leftovers]:
        yield Finding(
            "note",
            "leftovers",
            _described(ours, "that no trial of this store needs", context),
            str(context.artifacts),
            "hpo clean, or hpo doctor --repair, removes them",
            partial(_remove, artifacts=context.artifacts),
        )
    for use in uses:
        if use.kept is not None and use.leftovers:
            yield Finding(
                "note",
                "leftovers",
                _described(use.leftovers, "of a study that this store does not know", context),
                str(context.artifacts),
                f"nothing removes them, because {use.kept}: remove them by hand if they are not needed",
            )


def _described(leftovers: Sequence[Leftover], what: str, context: CheckContext) -> str:
    names = listed([str(leftover.path.relative_to(context.artifacts)) for leftover in leftovers])
    count = "1 file or folder" if len(leftovers) == 1 else f"{len(leftovers)} files or folders"
    return f"{count} {what} ({mebibytes(sum(leftover.size for leftover in leftovers))}): {names}"


def _remove(store: Store, artifacts: Path) -> str | None:
    removed, problems = remove_leftovers(store, survey(store, artifacts))
    if not removed:  # the finding stays
        return None
    left = f"; it could not remove {'; '.join(problems)}" if problems else ""
    return f"removed {mebibytes(removed)} that no trial needs from {artifacts}{left}"


def _change(checkpoint: _Named) -> str | None:
    """What happened to the file since its trial wrote it, as a predicate for its name; None for nothing."""
    reason = damage(checkpoint.path)
    if reason is not None or checkpoint.sha256 is None:
        return reason
    try:
        is_same = sha256_of(checkpoint.path) == checkpoint.sha256
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if is_same else "is not the file that the trial wrote: it was replaced or changed"


def damage(path: Path) -> str | None:
    """The damage of a checkpoint, as a predicate for its name; None when its structure is intact.

    A checkpoint is a zip archive: a truncated one has lost the directory at its end, or members listed in it.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            return "is empty"
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = archive.infolist()
            for member in members:
                file.seek(member.header_offset)
                ends = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size
                if file.read(4) != _LOCAL_HEADER or ends > archive.start_dir:
                    return f"is damaged: its part {member.filename} is not where it should be"
            if not any(member.filename.endswith("data.pkl") for member in members):
                return "is not a checkpoint: the archive contains something else"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return f"is truncated or not a checkpoint ({mebibytes(size)})"
    return None


def _named(connection: Connection, host: str) -> list[_Named]:
    latest = _latest_attempts()
    rows = connection.execute(
        select(trials.c.trial_id, trials.c.number, studies.c.study_name)
        .add_columns(hpo_trials.c.checkpoint, hpo_trials.c.checkpoint_sha256)
        .join(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .join(studies, studies.c.study_id == trials.c.study_id)
        .join(hpo_attempts, hpo_attempts.c.trial_id == trials.c.trial_id)
        .join(latest, (latest.c.trial_id == hpo_attempts.c.trial_id) & (latest.c.number == hpo_attempts.c.number))
        .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .where(hpo_trials.c.checkpoint.is_not(None), hpo_workers.c.host == host)
        .order_by(studies.c.study_id, trials.c.number)
    )
    return [
        _Named(row.study_name, row.number, Path(row.checkpoint), row.trial_id, row.checkpoint_sha256)
        for row in rows
        if not is_address(row.checkpoint)
    ]


def _latest_attempts() -> Any:
    return (
        select(hpo_attempts.c.trial_id, func.max(hpo_attempts.c.number).label("number"))
        .group_by(hpo_attempts.c.trial_id)
        .subquery()
    )


def _root(checkpoint: Path) -> Path:
    """The artifacts folder that a checkpoint was written into: ARTIFACTS/study-date/trial/file."""
    return checkpoint.parents[2] if len(checkpoint.parents) > 3 else checkpoint.parent


def _forget(store: Store, study: str, gone: list[_Named]) -> str | None:
    forgotten = 0
    with store.write() as connection:
        for checkpoint in gone:
            if checkpoint.path.exists():
                continue
            forgotten += connection.execute(
                update(hpo_trials)
                .where(hpo_trials.c.trial_id == checkpoint.trial_id, hpo_trials.c.checkpoint == str(checkpoint.path))
                .values(checkpoint=None, checkpoint_sha256=None)
            ).rowcount
    return f"{study}: removed {counted(forgotten, 'checkpoint')} without files from the store" if forgotten else None
