"""Freeing the disk of this machine: what artifacts take, and the removal of what no trial needs."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo.results.artifacts import FolderUse, survey
from hpo.results.removal import remove_leftovers
from hpo.store import Store
from hpo.study.folder_mark import MARK
from hpo.study.object_store import ObjectStore, object_store_of


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
    """What the artifacts of this machine, or of its object store, take, and what of them no trial needs.

    Nothing is changed.

    Raises:
        ObjectStoreError: the object store cannot be listed.
    """
    objects = object_store_of(artifacts)
    return Cleaned(artifacts, tuple(survey(store, artifacts) if objects is None else _survey(store, objects)))


def _survey(store: Store, objects: ObjectStore) -> list[FolderUse]:
    """Of an object store: of empty files that are as large as its objects, at the paths that mirror them."""
    with tempfile.TemporaryDirectory(prefix="hpo-objects-") as name:
        outline = Path(name)
        for path, size in objects.sizes().items():
            file = outline / path.relative_to(objects.mirror)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            os.truncate(file, size)
            if file.name == MARK:
                file.write_bytes(objects.read(path))
        return [_moved(use, outline, objects.mirror) for use in survey(store, outline)]


def _moved(use: FolderUse, before: Path, now: Path) -> FolderUse:
    left = tuple(replace(one, path=now / one.path.relative_to(before)) for one in use.leftovers)
    return replace(use, folder=now / use.folder.relative_to(before), leftovers=left)


def clean_artifacts(store: Store, artifacts: Path) -> Cleaned:
    """Remove what no trial needs, as it is now: the trials may have changed since the survey.

    Files of trials that wait, train, are idle or are paused stay, and so do logs, configurations, the checkpoints of
    the best trials, by the study's `keep`, and whatever else no worker wrote.
    """
    found = look_at_artifacts(store, artifacts)
    if (objects := object_store_of(artifacts)) is not None:
        objects.remove(left.path for use in found.uses if use.kept is None for left in use.leftovers)
        remove_leftovers(store, found.uses)  # what this machine mirrors of them
        return Cleaned(artifacts, found.uses, found.unneeded)
    removed, problems = remove_leftovers(store, found.uses)
    return Cleaned(artifacts, found.uses, removed, tuple(problems))
