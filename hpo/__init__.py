"""Hyperparameter optimization for PyTorch: from a study file to its best model in one command, or one call.

import hpo
study = hpo.run("studies/digits_dnn.yaml", trials=40)
study.best(5)
model = study.best(1)[0].load_model()
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.client.studies import StudiesOfServer
    from hpo.errors import HpoError, LoadError, RunError, SpecError, StoreError
    from hpo.results.comparison import StudyDifferences
    from hpo.results.final import Final
    from hpo.results.status import StudyStatus, WorkerRecord
    from hpo.results.trial import TrialRecord
    from hpo.service.archive import Archived
    from hpo.service.auto import AutoResult, auto
    from hpo.service.check import StudyCheck
    from hpo.service.model import load_model
    from hpo.service.predict import load_predictor
    from hpo.service.python import check, run, submit
    from hpo.service.replay_result import Replay
    from hpo.service.study import Study
    from hpo.service.watch import EventKind, StudyEvent
    from hpo.space import Choice, Float, Int, When
    from hpo.study.spec import StudySpec
    from hpo.study.states import StudyState, TrialState

__version__ = "0.1.0"

__all__ = [
    "Archived",
    "AutoResult",
    "Choice",
    "EventKind",
    "Final",
    "Float",
    "HpoError",
    "Int",
    "LoadError",
    "Replay",
    "RunError",
    "SpecError",
    "StoreError",
    "Study",
    "StudyCheck",
    "StudyDifferences",
    "StudyEvent",
    "StudySpec",
    "StudyState",
    "StudyStatus",
    "TrialRecord",
    "TrialState",
    "When",
    "WorkerRecord",
    "auto",
    "check",
    "connect",
    "fork",
    "import_study",
    "load_model",
    "load_predictor",
    "open_study",
    "run",
    "submit",
]

_NAMES = {
    "hpo.errors": ("HpoError", "LoadError", "RunError", "SpecError", "StoreError"),
    "hpo.results.comparison": ("StudyDifferences",),
    "hpo.results.final": ("Final",),
    "hpo.results.status": ("StudyStatus", "WorkerRecord"),
    "hpo.results.trial": ("TrialRecord",),
    "hpo.service.archive": ("Archived",),
    "hpo.service.auto": ("AutoResult", "auto"),
    "hpo.service.check": ("StudyCheck",),
    "hpo.service.model": ("load_model",),
    "hpo.service.predict": ("load_predictor",),
    "hpo.service.python": ("check", "run", "submit"),
    "hpo.service.replay_result": ("Replay",),
    "hpo.service.study": ("Study",),
    "hpo.service.watch": ("EventKind", "StudyEvent"),
    "hpo.space": ("Choice", "Float", "Int", "When"),
    "hpo.study.spec": ("StudySpec",),
    "hpo.study.states": ("StudyState", "TrialState"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def open_study(
    name: str, store: str | None = None, *, project: str | Path = ".", artifacts: str | Path | None = None
) -> Study:
    """Open a study to read it and to change it; also one of a store that only Optuna's own programs have used.

    Args:
        store: URL of the store; by default HPO_STORE, or `sqlite:///hpo.db` in the project folder.
        project: folder that relative SQLite paths start from.
        artifacts: folder for checkpoints and logs, which `rename` and `delete` change; by default HPO_ARTIFACTS, or
            `hpo-artifacts` in the project folder.

    Raises:
        StoreError: there is no such store, or it has no such study.
    """
    from hpo.service.study import Study
    from hpo.settings import store_url
    from hpo.store import Store

    opened = Store.open(store_url(store, Path(project)), is_foreign_allowed=True)
    return Study(opened, name, artifacts=artifacts, project=project)


def import_study(
    file: str | Path,
    store: str | None = None,
    *,
    name: str | None = None,
    project: str | Path = ".",
    artifacts: str | Path | None = None,
) -> Study:
    """Read a study from an archive into a store, as `hpo import` does: completely, or not at all.

    Args:
        file: that `study.archive` or `hpo export STUDY --format archive` has written.
        store: URL of the store, which is created if there is none; by default HPO_STORE, or `sqlite:///hpo.db` in the
            project folder.
        name: another name for the study, where the store has one of its name.
        project: folder that relative SQLite paths start from.
        artifacts: folder for checkpoints and logs; by default HPO_ARTIFACTS, or `hpo-artifacts` in the project folder.

    Raises:
        SpecError: no study can be called that.
        StoreError: the archive is damaged, or another release wrote it; or the store has a study of such a name.
    """
    from hpo.service.archive import import_archive
    from hpo.service.study import Study
    from hpo.settings import artifacts_folder, store_url
    from hpo.store import Store

    folder = artifacts_folder(None if artifacts is None else Path(artifacts), Path(project))
    opened = Store.create(store_url(store, Path(project)))
    try:
        imported = import_archive(opened, Path(file), name=name, artifacts=folder)
    except BaseException:
        opened.close()
        raise
    return Study(opened, imported.study, artifacts=folder, project=project)


def fork(
    old: str,
    new: str,
    changes: Mapping[str, Any] | None = None,
    *,
    store: str | None = None,
    project: str | Path = ".",
    artifacts: str | Path | None = None,
) -> Study:
    """Begin a new study from another one, with all its trials that fit, as `hpo fork` does.

        hpo.fork("digits-dnn", "digits-wide", {"space.lr.high": 0.1, "epochs": 30})

    Args:
        changes: values of the study file, by their keys.
        store: URL of the store; by default HPO_STORE, or `sqlite:///hpo.db` in the project folder.
        project: folder that classes are imported from, and that relative SQLite paths start from.
        artifacts: folder for checkpoints and logs; by default HPO_ARTIFACTS, or `hpo-artifacts` in the project folder.

    Raises:
        SpecError: a change is invalid, or changes what the values of the trials mean.
        StoreError: there is no such study, another program made it, or the store has one of the new name.
        LoadError: a class cannot be imported.
    """
    from hpo.service.server import start_server

    server = start_server(store, Path(project))
    try:
        from hpo.service.fork import fork_study
        from hpo.service.study import Study
        from hpo.settings import artifacts_folder, project_folder, store_url
        from hpo.store import Store

        home = project_folder(Path(project))
        folder = artifacts_folder(None if artifacts is None else Path(artifacts), home)
        opened = Store.open(store_url(store, home))
        try:
            fork_study(opened, old, new, changes or {}, server=server, project=home, artifacts=folder)
        except BaseException:
            opened.close()
            raise
        return Study(opened, new, artifacts=folder, project=project)
    finally:
        server.stop()


def connect(url: str, token_file: str | Path | None = None) -> StudiesOfServer:
    """The studies behind a server, for those who may not reach its store, as `hpo --server URL --token-file FILE`.

        with hpo.connect("https://hpo.example.com", "token") as studies:
            studies.status("digits-dnn")

    Args:
        token_file: with the token, which nobody else may read.

    Raises:
        SpecError: the address or the file is not what it should be.
    """
    from hpo.client.studies import connect as connect_to

    return connect_to(url, None if token_file is None else Path(token_file))


def __getattr__(name: str) -> object:
    # Models import hpo.space, which must not bring a database library into the trial process.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hpo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
