"""`hpo.submit`, `hpo.run` and `hpo.check`: the verbs for scripts and notebooks, which print nothing."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from hpo.errors import SpecError, nearest
from hpo.service.server import start_server

if TYPE_CHECKING:
    from hpo.ipc.fork_server import ForkServer
    from hpo.queue.counts import TrialCounts
    from hpo.service.assembly import Search
    from hpo.service.check import StudyCheck
    from hpo.service.study import Study
    from hpo.study.spec import StudySpec

SECONDS_BETWEEN_FRAMES = 1.0


class StudyKeys(TypedDict, total=False):
    """The keys of a study file as keywords; StudySpec documents each."""

    study: str
    model: type[Any] | str | Mapping[str, Any]
    data: type[Any] | str | Mapping[str, Any]
    objective: str | Mapping[str, Any]
    constraints: str | Sequence[str] | None
    space: Mapping[str, Any]
    epochs: Any  # a number, hpo.Int, or a mapping
    steps: Any  # instead of epochs
    first_trial: str
    points: Sequence[Mapping[str, Any]]
    start_from: str | Sequence[str]
    sampler: type[Any] | str | Mapping[str, Any]
    pruner: type[Any] | str | Mapping[str, Any] | None
    early_stopping: Mapping[str, Any] | None
    folds: int | None
    repeats: int | None
    diverged: str
    budget: Mapping[str, Any]
    resources: Mapping[str, Any]
    trainer: Mapping[str, Any]
    executor: str
    cuda_graphs: bool
    logger: str
    track: str | Sequence[str]
    reuse_processes: bool
    retries: Mapping[str, Any]
    priority: float
    keep: Mapping[str, Any]
    notify: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    seed: int


def submit(
    study: str | Path | Mapping[str, Any] | StudySpec | None = None,
    /,
    *,
    name: str | None = None,
    trials: int | None = None,
    store: str | None = None,
    project: str | Path | None = None,
    accept_changes: bool = False,
    **keys: Unpack[StudyKeys],
) -> Study:
    """Create or continue a study, and leave the training to workers, as `hpo submit` does.

        hpo.submit("studies/digits_dnn.yaml", trials=40)

    A new study is first tried with one batch, which takes some seconds.

    Args:
        study: a study file, its keys as a dict, or a StudySpec; or nothing, when the keywords give every key.
        name: of the study; by default the file's, or the model's.
        trials: that the study ends with; more than before extend it.
        store: URL of the store; by default HPO_STORE, or `sqlite:///hpo.db` in `project`, HPO_PROJECT or the current
            folder, where `hpo best` and `hpo.open_study` look for it.
        project: folder that classes are imported from and that relative paths start from; by default the one that
            this process imported them from, HPO_PROJECT, or the current folder.
        accept_changes: continue the study although its data or its code is other than before; the trials so far are
            kept, and compared no more.
        keys: those of a study file, which override those of `study`. A class may stand for its import path, and
            Float, Int and Choice for ranges. An objective may be its name alone, where that implies the direction.

    Raises:
        SpecError: the study is invalid (all problems at once), or the batch fails.
        LoadError: a class cannot be imported; also one of a script or notebook, which no worker could import.
        StoreError: the store cannot be used, or has a study of this name that searches something else, or with
            other data or code.
    """
    _refuse_unknown(keys, submit)
    with _serving(store, project) as server:
        from hpo.service import assembly
        from hpo.service.request import read_request
        from hpo.service.study import Study

        request = read_request("hpo.submit", study, keys, name=name, trials=trials, project=project)
        with request.workspace(server, store=store) as workspace:
            assembly.submit(workspace, request.spec, request.source, is_change_accepted=accept_changes)
            return Study(workspace.store, request.spec.study, project=request.home)


def run(
    study: str | Path | Mapping[str, Any] | StudySpec | None = None,
    /,
    *,
    name: str | None = None,
    trials: int | None = None,
    slots: int | None = None,
    store: str | None = None,
    project: str | Path | None = None,
    artifacts: str | Path | None = None,
    on_frame: Callable[[TrialCounts], None] | None = None,
    accept_changes: bool = False,
    **keys: Unpack[StudyKeys],
) -> Study:
    """Create or continue a study and train it on this machine, as `hpo run` does; returns when it has ended.

        hpo.run(model=MyNet, data=MyData, objective="val_accuracy", space={"lr": hpo.Float(1e-4, 1e-1, log=True)})

    Classes of a script or notebook are sent to the trials by value; no other worker can train them. The first Ctrl-C
    and SIGTERM hand running trials back after their epoch, a second Ctrl-C ends them at once; outside the main thread,
    where Python delivers no signals, they do nothing.

    Args:
        study: a study file, its keys as a dict, or a StudySpec; or nothing, when the keywords give every key.
        name: of the study; by default the file's, or the model's.
        trials: that the study ends with; more than before extend it.
        slots: trials at a time; by default one a GPU, or one a core.
        store: URL of the store; by default HPO_STORE, or `sqlite:///hpo.db` in `project`, HPO_PROJECT or the current
            folder, where `hpo best` and `hpo.open_study` look for it.
        project: folder that classes are imported from and that relative paths start from; by default the one that
            this process imported them from, HPO_PROJECT, or the current folder.
        artifacts: folder for checkpoints and logs; by default HPO_ARTIFACTS, or `hpo-artifacts` beside that `hpo.db`.
        on_frame: called once a second, and at the end, with the study's counts: target, ended, complete, pruned, ...
            Without it, the cell of a notebook shows a table of the progress; elsewhere, nothing is printed.
        accept_changes: continue the study although its data or its code is other than before; the trials so far are
            kept, and compared no more.
        keys: those of a study file, which override those of `study`. A class may stand for its import path, and
            Float, Int and Choice for ranges. An objective may be its name alone, where that implies the direction.

    Raises:
        SpecError: the study is invalid (all problems at once), or the batch fails.
        LoadError: a class cannot be imported, or not be sent to the trials.
        StoreError: the store cannot be used, or has a study of this name that searches something else, or with
            other data or code.
        RunError: the study was stopped, also after five failures of one cause in a row.
        KeyboardInterrupt: it was interrupted; the same call continues it.
    """
    _refuse_unknown(keys, run)
    with _serving(store, project) as server:
        from hpo.service import assembly
        from hpo.service.preflight import slots_for
        from hpo.service.request import read_request
        from hpo.service.study import Study

        request = read_request("hpo.run", study, keys, name=name, trials=trials, project=project)
        machine = slots_for(request.spec, request.source, wanted=slots)
        frames = _Frames(_shown_in_notebook() if on_frame is None else lambda search: on_frame(search.run.counts))
        with request.workspace(server, store=store, artifacts=artifacts) as workspace:
            search = assembly.begin(
                workspace,
                request.spec,
                request.source,
                machine=machine,
                on_frame=lambda _: frames.look(search),
                is_change_accepted=accept_changes,
            )
            search.worker.run_until_done()
            frames.show(search)
            search.check_end()
            return Study(workspace.store, request.spec.study, artifacts=workspace.artifacts, project=request.home)


def check(
    study: str | Path | Mapping[str, Any] | StudySpec | None = None,
    /,
    *,
    name: str | None = None,
    trials: int | None = None,
    store: str | None = None,
    project: str | Path | None = None,
    **keys: Unpack[StudyKeys],
) -> StudyCheck:
    """Validate a study, try one batch, and say what the study will cost, as `hpo check` does; creates nothing.

    Args:
        study: a study file, its keys as a dict, or a StudySpec; or nothing, when the keywords give every key.
        name: of the study; by default the file's, or the model's.
        trials: that the study is to end with.
        store: URL of the store that has the trials whose weights the study starts from, if it does.
        project: folder that classes are imported from, see `hpo.run`.
        keys: those of a study file, see `hpo.run`.

    Raises:
        SpecError: the study is invalid (all problems at once), or the batch fails.
        LoadError: a class cannot be imported, or not be sent to the trial.
        StoreError: the study starts from another one's weights, and the store cannot be used.
    """
    _refuse_unknown(keys, check)
    with _serving(store, project) as server:
        from hpo.service.check import check_study
        from hpo.service.request import read_request
        from hpo.settings import store_url
        from hpo.store import Store

        request = read_request("hpo.check", study, keys, name=name, trials=trials, project=project)
        return check_study(
            request.spec,
            request.source,
            server=server,
            project=request.project,
            open_store=lambda: Store.open(store_url(store, request.home)),
        )


class _Frames:
    """Shows a search to a function, once a second."""

    def __init__(self, show: Callable[[Search], None]) -> None:
        self._show = show
        self._next = 0.0  # monotonic seconds

    def look(self, search: Search) -> None:
        if time.monotonic() >= self._next:
            self.show(search)

    def show(self, search: Search) -> None:
        self._next = time.monotonic() + SECONDS_BETWEEN_FRAMES
        self._show(search)


def _shown_in_notebook() -> Callable[[Search], None]:
    """What shows a search in the cell of a notebook; elsewhere, nothing does."""
    from hpo.notebook import in_kernel

    if not in_kernel():
        return lambda search: None
    from hpo.service.live_table import LiveTable

    shown = LiveTable()
    return lambda search: shown.show(search.worker, search.run)


@contextlib.contextmanager
def _serving(store: str | None, project: str | Path | None) -> Iterator[ForkServer]:
    server = start_server(store, None if project is None else Path(project))
    try:
        yield server
    finally:
        server.stop()


def _refuse_unknown(keys: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Before anything is started: the keywords that a function has besides a study file's keys are no keys."""
    options = [name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]
    known = [*options, *StudyKeys.__annotations__]
    for key in keys:
        if key not in known:
            raise SpecError(
                f"hpo.{function.__name__} takes no '{key}'{nearest(key, known) or '.'} "
                f"It takes {', '.join(options)}, and the keys of a study file: {', '.join(StudyKeys.__annotations__)}"
            )
