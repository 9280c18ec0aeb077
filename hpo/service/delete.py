"""Deleting a study: its rows, and then its folder on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from hpo.queue.delete import delete_rows
from hpo.queue.leases import expire_leases
from hpo.queue.plans import plans_of
from hpo.queue.progress import find_study, lock_named_study
from hpo.queue.rename import named_checkpoints, referring_studies
from hpo.queue.trained import last_attempts, refuse_while_trained
from hpo.store import Store
from hpo.store.tables import hpo_studies, trials
from hpo.study.artifacts import folders_of, homes_of, remove, size_of
from hpo.study.naming import study_folder
from hpo.study.object_store import object_store_of

_TRIES = 5  # workers that write at this moment may make the database end one of the two
_FORCE = "'hpo pause' or 'hpo stop' it first; with --force it is deleted anyway, and their results are dropped"


@dataclass(frozen=True)
class Belongings:
    """What a study has.

    Attributes:
        folders: on this machine; none for a study of another program.
        size: of these folders, in bytes.
        referring: other studies whose trials start from weights of it.
        reruns: studies that train its best trials again, and that stay.
        homes: folders that it has here, or that mirror what it has in an object store.
    """

    study: str
    trials: int
    folders: tuple[Path, ...]
    size: int
    referring: tuple[str, ...]
    reruns: tuple[str, ...] = ()
    homes: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Deleted:
    """What is gone.

    Attributes:
        size: bytes of the folders that were removed.
        problems: what could not be removed, and why.
    """

    study: str
    trials: int
    size: int
    problems: tuple[str, ...] = ()


def belongings_of(store: Store, name: str, *, artifacts: Path) -> Belongings:
    """What would go with the study.

    Raises:
        StoreError: there is no such study.
    """
    study_id, _ = find_study(store, name)
    with store.read() as connection:
        count = connection.scalar(select(func.count()).where(trials.c.study_id == study_id)) or 0
        created = connection.scalar(select(hpo_studies.c.created).where(hpo_studies.c.study_id == study_id))
        checkpoints = named_checkpoints(connection, study_id)
        referring = tuple(referring_studies(connection, name))
        reruns = tuple(found for _, found, _ in plans_of(connection, study_id))
    folder = None if created is None else study_folder(name, created)
    folders = tuple(folders_of(artifacts, folder, checkpoints.values())) if folder else ()
    homes = tuple(home / folder for home in homes_of(artifacts, folder, checkpoints.values())) if folder else ()
    return Belongings(name, count, folders, sum(map(size_of, folders)), referring, reruns, homes)


def delete_study(store: Store, name: str, *, artifacts: Path, force: bool = False) -> Deleted:
    """Delete a study, of whichever program, with all its trials; then its folders on this machine.

    What its trials wrote on other machines stays there, until `hpo clean` removes it.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.
        force: also while workers train it: they drop its trials within seconds.

    Raises:
        StoreError: there is no such study, or workers train it.
    """
    study_id, _ = find_study(store, name)
    expire_leases(store, study_id=study_id)  # perhaps no worker is left that would
    belongings = belongings_of(store, name, artifacts=artifacts)
    for tried in range(_TRIES):
        try:
            count = _delete_rows(store, name, study_id, force=force)
            break
        except OperationalError as error:
            if "deadlock" not in str(error) or tried == _TRIES - 1:
                raise
    problems, size = [], 0
    for folder in belongings.homes:
        if (objects := object_store_of(folder.parent)) is not None:
            objects.remove([folder])
    for folder in belongings.folders:
        size += size_of(folder)
        try:
            remove(folder)
        except OSError as error:
            size -= size_of(folder)
            problems.append(f"{folder}: {error.strerror or error}")
    return Deleted(name, count, size, tuple(problems))


def _delete_rows(store: Store, name: str, study_id: int, *, force: bool) -> int:
    with store.write() as connection:
        lock_named_study(connection, study_id, name)
        if not force:
            refuse_while_trained(last_attempts(connection, study_id), name, advice=_FORCE)
        return delete_rows(connection, study_id)
