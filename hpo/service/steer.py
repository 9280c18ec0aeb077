"""Requests for studies and trials, and the removal of what the trials that end by them leave on this machine.

Running trials are ended by their workers, which remove their files. Idle ones end with the request, and there may be no
worker.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from hpo.queue import control
from hpo.queue.idle import idle_trials
from hpo.queue.progress import find_study
from hpo.queue.rename import named_checkpoints
from hpo.results.artifacts import FolderUse, leftovers_of_ended
from hpo.results.removal import ended_by_request, remove_leftovers
from hpo.store import Store
from hpo.store.tables import hpo_studies
from hpo.study.artifacts import folders_of
from hpo.study.naming import study_folder
from hpo.study.states import Request, StudyState


def request_study(store: Store, name: str, state: StudyState, *, artifacts: Path) -> str:
    """Pause, resume, stop or kill a study; a line with the outcome.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.

    Raises:
        StoreError: there is no such study, or another program made it.
    """
    idle = _idle(store, name)
    said = control.request_study(store, name, state)
    return said + _free(store, name, idle, artifacts)


def request_trial(store: Store, name: str, number: int, request: Request | None, *, artifacts: Path) -> str:
    """Pause, stop, kill or resume (None) one trial; a line with the outcome.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.

    Raises:
        StoreError: there is no such trial, it has ended, or another program made it.
    """
    idle = _idle(store, name)
    said = control.request_trial(store, name, number, request)
    return said + _free(store, name, [found for found in idle if found == number], artifacts)


def _idle(store: Store, name: str) -> list[int]:
    study_id, _ = find_study(store, name)
    with store.read() as connection:
        return [row.number for row in connection.execute(idle_trials(study_id))]


def _free(store: Store, name: str, idle: list[int], artifacts: Path) -> str:
    """Remove what those of the idle trials that have ended now do not need; what went wrong, as a further line."""
    study_id, _ = find_study(store, name)
    ended = ended_by_request(store, study_id, among=idle) if idle else []
    if not ended:
        return ""
    with store.read() as connection:
        created = connection.scalar(select(hpo_studies.c.created).where(hpo_studies.c.study_id == study_id)) or 0.0
        checkpoints = named_checkpoints(connection, study_id)
    uses = [
        FolderUse(folder, name, study_id, 0, tuple(leftovers_of_ended(store, study_id, folder, ended)))
        for folder in folders_of(artifacts, study_folder(name, created), checkpoints.values())
    ]
    _, problems = remove_leftovers(store, uses)
    return "".join(f"\nnot removed: {problem}" for problem in problems)
