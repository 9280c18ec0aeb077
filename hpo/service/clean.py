"""Freeing the disk of this machine: what artifacts take, and the removal of what no trial needs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from hpo.queue.progress import lock_study
from hpo.results.artifacts import REMOVED, FolderUse, Leftover, survey
from hpo.store import Store
from hpo.store.tables import trials
from hpo.study.artifacts import remove, size_of


@dataclass(frozen=True)
class Cleaned:
    """What was looked at, and what was removed.

    Attributes:
        uses: each study's folder as it was before.
        removed: bytes.
        problems: what could not be removed, and why.
    """

    artifacts: Path
    uses: tuple[FolderUse, ...]
    removed: int = 0
    problems: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all studies."""
        return sum(use.size for use in self.uses)

    @property
    def unneeded(self) -> int:
        """Bytes that no trial needs."""
        return sum(use.unneeded for use in self.uses)

    @property
    def unneeded_count(self) -> int:
        """How many files and folders no trial needs."""
        return sum(len(use.leftovers) for use in self.uses if not use.kept)

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints; sizes in bytes."""
        return {
            "artifacts": str(self.artifacts),
            "bytes": self.size,
            "unneeded_bytes": self.unneeded,
            "removed_bytes": self.removed,
            "studies": [
                {
                    "study": use.study,
                    "folder": use.folder.name,
                    "bytes": use.size,
                    "unneeded_bytes": use.unneeded,
                    "unneeded": [
                        {"path": str(left.path), "bytes": left.size, "why": left.why}
                        for left in (use.leftovers if use.kept is None else ())
                    ],
                    "kept": use.kept,
                }
                for use in self.uses
            ],
            "problems": list(self.problems),
        }


def look_at_artifacts(store: Store, artifacts: Path) -> Cleaned:
    """What the artifacts of this machine take, and what of them no trial needs; nothing is changed."""
    return Cleaned(artifacts, tuple(survey(store, artifacts)))


def clean_artifacts(store: Store, artifacts: Path) -> Cleaned:
    """Remove what no trial needs, as it is now: the trials may have changed since the survey.

    Files of trials that wait, train, are idle or are paused stay, and so do logs, configurations, checkpoints that the
    store names, and whatever no worker wrote.
    """
    found = look_at_artifacts(store, artifacts)
    removed, problems = 0, []
    for use in found.uses:
        for leftover in use.leftovers if use.kept is None else ():
            for path in _out_of_reach(store, use, leftover):
                try:
                    remove(path)
                    removed += leftover.size
                except OSError as error:
                    removed += leftover.size - size_of(path)
                    problems.append(f"{path}: {error.strerror or error}")
    return Cleaned(artifacts, found.uses, removed, tuple(problems))


def _out_of_reach(store: Store, use: FolderUse, leftover: Leftover) -> Iterator[Path]:
    """The path to remove, where no trial can begin in it; nothing when the study has such a trial by now."""
    if leftover.unknown_trial is None or use.study_id is None:
        yield leftover.path
        return
    with store.write() as connection:
        lock_study(connection, use.study_id)  # no trial is numbered meanwhile
        mine = (trials.c.study_id == use.study_id) & (trials.c.number == leftover.unknown_trial)
        if connection.scalar(select(trials.c.trial_id).where(mine)) is not None:
            return
        aside = leftover.path.with_name(f"{REMOVED}{leftover.path.name}-{secrets.token_hex(4)}")
        try:
            leftover.path.rename(aside)
        except OSError:  # removing it will say why
            aside = leftover.path
    yield aside
