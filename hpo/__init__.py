"""Hyperparameter optimization for PyTorch: from a study file to its best model in one command.

import hpo
study = hpo.open_study("digits-dnn", store="sqlite:///hpo.db")
study.best(5)
model = study.best(1)[0].load_model()
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.errors import HpoError, LoadError, RunError, SpecError, StoreError
    from hpo.results.study import Study, StudyStatus, WorkerRecord
    from hpo.results.trial import TrialRecord

__all__ = [
    "HpoError",
    "LoadError",
    "RunError",
    "SpecError",
    "StoreError",
    "Study",
    "StudyStatus",
    "TrialRecord",
    "WorkerRecord",
    "open_study",
]

_HOMES = {
    name: "hpo.errors" if name.endswith("Error") else "hpo.results.study" for name in __all__ if name != "open_study"
}


def open_study(name: str, store: str | None = None, *, project: str | Path = ".") -> Study:
    """Open a study to look at it.

    Args:
        store: URL of the store; by default HPO_STORE, or `sqlite:///hpo.db` in the project folder.
        project: folder that relative SQLite paths start from.

    Raises:
        StoreError: there is no such store, or it has no such study.
    """
    from hpo.results.study import Study
    from hpo.settings import store_url
    from hpo.store import Store

    return Study(Store.open(store_url(store, Path(project))), name)


def __getattr__(name: str) -> object:
    # Models import hpo.space, which must not bring a database library into the trial process.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hpo' has no attribute '{name}'")
