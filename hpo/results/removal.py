"""The removal of what no trial needs."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from sqlalchemy import or_, select

from hpo.queue.idle import KILLED, STOPPED
from hpo.queue.progress import lock_study
from hpo.queue.report import forget_checkpoints
from hpo.results.artifacts import REMOVED, FolderUse, Leftover
from hpo.store import Store
from hpo.store.tables import hpo_trials, trials
from hpo.study.artifacts import remove, size_of
from hpo.study.states import OPTUNA_ENDED


def ended_by_request(store: Store, study_id: int, *, among: Collection[int] | None = None) -> list[int]:
    """The numbers of the trials that a person, or the end of their study, has stopped or killed; no worker may know.

    Args:
        among: only these trials.
    """
    is_of_them = or_(*(hpo_trials.c.cause.startswith(f"{word}:") for word in (KILLED, STOPPED)))
    with store.read() as connection:
        numbers = connection.scalars(
            select(trials.c.number)
            .join(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == study_id, trials.c.state.in_(OPTUNA_ENDED), is_of_them)
        ).all()
    return [number for number in numbers if among is None or number in among]


def remove_leftovers(store: Store, uses: Iterable[FolderUse]) -> tuple[int, list[str]]:
    """Remove what a survey has found, without the folders that are left alone.

    Returns:
        How many bytes are gone; and what could not be removed, and why.
    """
    removed, problems = 0, []
    for use in uses:
        for leftover in use.leftovers if use.kept is None else ():
            for path in _out_of_reach(store, use.study_id, leftover):
                try:
                    remove(path)
                    removed += leftover.size
                except OSError as error:
                    removed += leftover.size - size_of(path)
                    problems.append(f"{path}: {error.strerror or error}")
    return removed, problems


def _out_of_reach(store: Store, study_id: int | None, leftover: Leftover) -> Iterator[Path]:
    """The path to remove, where no trial can begin in it; nothing when the study has such a trial by now."""
    if leftover.named_by is not None:
        with store.write() as connection:
            forget_checkpoints(connection, [leftover.named_by])
    if leftover.unknown_trial is None or study_id is None:
        yield leftover.path
        return
    with store.write() as connection:
        lock_study(connection, study_id)  # no trial is numbered meanwhile
        mine = (trials.c.study_id == study_id) & (trials.c.number == leftover.unknown_trial)
        if connection.scalar(select(trials.c.trial_id).where(mine)) is not None:
            return
        aside = leftover.path.with_name(f"{REMOVED}{leftover.path.name}-{secrets.token_hex(4)}")
        try:
            leftover.path.rename(aside)
        except OSError:  # removing it will say why
            aside = leftover.path
    yield aside
