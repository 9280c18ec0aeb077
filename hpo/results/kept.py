"""The checkpoints that a study keeps, and what they take on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from hpo.printable import counted, mebibytes
from hpo.store import Store
from hpo.store.tables import hpo_trials, trials
from hpo.study.artifacts import checkpoints_in, is_file, is_folder, size_of
from hpo.study.naming import trial_of_folder
from hpo.study.object_store import local_path
from hpo.study.states import OPTUNA_ENDED


@dataclass(frozen=True)
class KeptCheckpoints:
    """What is kept of a study's ended trials.

    Attributes:
        trials: the number of those whose checkpoints are kept.
        elsewhere: the number of those whose checkpoints are not on this machine.
        size: of the others' checkpoints, in bytes.
    """

    trials: int
    elsewhere: int
    size: int

    def __str__(self) -> str:
        """`5 trials, 0.2 MiB; 2 of them on other machines`."""
        away = f"; {self.elsewhere:,} of them on other machines" if self.elsewhere else ""
        return f"{counted(self.trials, 'trial')}, {mebibytes(self.size)}{away}"


def kept_checkpoints(store: Store, study_id: int) -> KeptCheckpoints:
    """The checkpoints of ended trials that the store names, with all that is kept beside them."""
    with store.read() as connection:
        named = connection.scalars(
            select(hpo_trials.c.checkpoint)
            .join(trials, trials.c.trial_id == hpo_trials.c.trial_id)
            .where(
                trials.c.study_id == study_id,
                trials.c.state.in_(OPTUNA_ENDED),
                hpo_trials.c.checkpoint.is_not(None),
            )
        ).all()
    paths = [local_path(name) for name in named]
    here = [path for path in paths if is_file(path) or is_folder(path)]
    beside = (checkpoints_in(path.parent) if trial_of_folder(path.parent.name) is not None else [path] for path in here)
    return KeptCheckpoints(len(paths), len(paths) - len(here), sum(size_of(path) for found in beside for path in found))
