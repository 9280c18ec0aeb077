"""A study from Python: what `hpo.results.study.Study` reads, and the verbs that change it.

study = hpo.open_study("digits-dnn")
study.enqueue(lr=1e-3, depth=2)
study.set(trials="+20")
for event in study.watch():
    print(event.kind, event.number)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.ipc.environment import clean_environment
from hpo.ipc.fork_server import ForkServer
from hpo.queue.control import set_limits
from hpo.queue.enqueue import Enqueued, Point, enqueue_points
from hpo.results import study as results
from hpo.results.final import Final
from hpo.service.delete import Deleted, delete_study
from hpo.service.rename import rename_study
from hpo.service.watch import StudyEvent, Watch
from hpo.settings import artifacts_folder, project_folder
from hpo.store import Store
from hpo.study.states import Request, StudyState

if TYPE_CHECKING:
    from hpo.plots.plots import Plots
    from hpo.report.importances import Importances
    from hpo.service.archive import Archived
    from hpo.service.ensemble import Ensemble
    from hpo.service.export import Exported
    from hpo.service.replay_result import Replay
    from hpo.training.prediction.predictor import Predictor

log = logging.getLogger(__name__)


class Study(results.Study):
    """A study in a store: each call reads or changes the store anew, and every worker sees a change within seconds.

    The verbs return the line that the command line prints.

    Args:
        artifacts: the folder for checkpoints and logs on this machine, which `rename` and `delete` change; by default
            HPO_ARTIFACTS, or `hpo-artifacts` in the project folder.
        project: the project folder.

    Raises:
        StoreError: the store has no such study. Methods that change a study also raise it once the study was deleted,
            and, but for `delete`, when another program made it.
    """

    def __init__(
        self, store: Store, name: str, *, artifacts: str | Path | None = None, project: str | Path = "."
    ) -> None:
        super().__init__(store, name)
        self._artifacts = None if artifacts is None else Path(artifacts)
        self._project = Path(project)

    def pause(self, trial: int | None = None) -> str:
        """Pause the study, or one trial: what trains is saved after its epoch, and nothing begins until `resume`.

        Raises:
            StoreError: the study has no such trial, or it has ended.
        """
        return self._request(trial, StudyState.PAUSED, Request.PAUSE)

    def resume(self, trial: int | None = None) -> str:
        """Let a paused or stopped study, or a paused trial, go on where it was.

        Raises:
            StoreError: the study has no such trial, or it has ended.
        """
        return self._request(trial, StudyState.RUNNING, None)

    def stop(self, trial: int | None = None) -> str:
        """End the study, or one trial, after the current epoch; what trains counts as pruned.

        Raises:
            StoreError: the study has no such trial, or it has ended.
        """
        return self._request(trial, StudyState.STOPPED, Request.STOP)

    def kill(self, trial: int | None = None) -> str:
        """End the study, or one trial, at once; what trains counts as failed.

        Raises:
            StoreError: the study has no such trial, or it has ended.
        """
        return self._request(trial, StudyState.KILLED, Request.KILL)

    def set(self, **limits: float | str | None) -> str:
        """Change what the study may spend: `set(trials="+20", hours=2, target=None)`.

        Args:
            limits: trials, hours, gpu_hours, target, patience or priority: a number, a text such as "+20" that adds to
                what it is, or None for no limit.

        Raises:
            SpecError: a name or a value is invalid; nothing is changed.
        """
        changes = [f"{name}={'none' if value is None else value}" for name, value in limits.items()]
        return set_limits(self._store, self.name, changes)

    def enqueue(self, /, **params: Any) -> int:
        """Ask for a trial with these parameters; what is left out is sampled. The trial's number.

        A point that equals one that still waits is not entered again: the number is that one's. A study without room
        in its budget keeps it waiting, and a warning is logged: `set(trials="+1")` makes room.

        Raises:
            SpecError: parameters that the study does not search, or values that it cannot take; or a grid study.
        """
        return self.enqueue_many([params])[0]

    def enqueue_many(self, points: Sequence[Mapping[str, Any]]) -> list[int]:
        """`enqueue` for several points, in one transaction: all are entered or none. Their trials' numbers, in order.

        Raises:
            SpecError: with everything that is wrong with any of the points.
        """
        named = [Point(point, f"point {place}" if len(points) > 1 else "") for place, point in enumerate(points)]
        entered: Enqueued = enqueue_points(self._store, self.name, named)
        for note in entered.notes():
            log.warning("study %s: %s", self.name, note)
        return list(entered.numbers)

    def finalize(
        self,
        *,
        top: int = 3,
        seeds: int = 5,
        retrain: str | None = None,
        ensemble: bool = False,
        test: bool = False,
        test_again: bool = False,
        trial: int | None = None,
        slots: int | None = None,
    ) -> Final:
        """Train the best trials again with fresh seeds, choose by the mean, and keep a model, as `hpo finalize` does.

        Args:
            top: the number of best trials that are trained again.
            seeds: of each of them.
            retrain: `train+val` trains the final model on both parts.
            ensemble: the final model is the average of several, where that pays: those that are best together on the
                validation part, or, of a model that is trained on both parts, all seeds.
            test: test it on the test part, once.
            test_again: although that was looked at before.
            trial: train this one again, such as one of a front, instead of the best ones.
            slots: trials at a time; by default as many as the study requests.

        Raises:
            HpoError: nothing is complete, the data or the code was changed, there is no test part, or it was looked at.
            RunError: all re-runs failed, or were stopped.
            KeyboardInterrupt: it was interrupted; the same call goes on.
        """
        from hpo.service.finalize import Request as FinalRequest
        from hpo.service.finalize import finalize_here

        request = FinalRequest.of(
            top, seeds, retrain=retrain, ensemble=ensemble, test=test, test_again=test_again, trial=trial
        )
        return finalize_here(self._store, self.name, request, self._project, self._folder(), slots=slots)

    def report(self, path: str | Path | None = None, *, format: str | None = None) -> Path:
        """Write one page about the study, as `hpo report` does; the file that was written.

        Args:
            path: the file; by default `STUDY-report.html` in the current folder.
            format: `html` or `md`; by default as the file's name says.

        Raises:
            SpecError: no such file can be written, or the format is another.
        """
        from hpo.report.writing import format_of, report_file, report_text, write_whole

        chosen = format_of(format, path)
        file = report_file(path, self.name, chosen)
        write_whole(file, report_text(self._store, self.name, chosen))
        return file

    def importance(self) -> Importances:
        """Which of the searched parameters matter, with the spread over resamples of the trials, as `hpo importance`.

        Its `remark` says so where there are too few trials to tell.
        """
        from hpo.report.importances import importances_of  # which imports Optuna

        return importances_of(self._store, self.name)

    @property
    def plot(self) -> Plots:
        """Figures of plotly: `study.plot.history()`, `curves`, `importance`, `parallel`, `slice`, `contour`, ...

        Raises:
            SpecError: plotly is not installed.
        """
        from hpo.plots.plots import Plots  # which imports Optuna

        return Plots(self._store, self)

    def rename(self, new: str) -> str:
        """Give the study another name; its folder on this machine and the paths of its checkpoints move with it.

        Raises:
            SpecError: no study can be called that.
            StoreError: workers train it, or the name is taken; see `hpo.service.rename.rename_study`.
        """
        renamed = rename_study(self._store, self.name, new, artifacts=self._folder())
        self.name = new
        return str(renamed)

    def delete(self, force: bool = False) -> Deleted:
        """Delete the study with all its trials, and its folder on this machine.

        Args:
            force: also while workers train it; they drop its trials within seconds.

        Raises:
            StoreError: workers train it.
        """
        return delete_study(self._store, self.name, artifacts=self._folder(), force=force)

    def archive(self, file: str | Path | None = None, *, force: bool = False) -> Archived:
        """Write the study with all that belongs to it into one file, which `hpo.import_study` reads.

        Args:
            file: by default `STUDY.hpo-archive.zip` in the current folder.
            force: replace an existing file.

        Raises:
            StoreError: the file is there already, or cannot be written.
        """
        path = None if file is None else Path(file)
        from hpo.service.archive import archive_study  # which imports pydantic, a tenth of a second

        return archive_study(self._store, self.name, path, artifacts=self._folder(), force=force)

    def watch(self, poll_seconds: float = 1.0, *, from_start: bool = False) -> Iterator[StudyEvent]:
        """Events from this call on, until the study is over; a paused study is not over.

        Each event is reported once, however short the trial was, in order of time.

        Args:
            poll_seconds: between two polls of the store.
            from_start: also report earlier events.
        """
        return Watch(self._store, self._study_id, self.objectives, from_start=from_start).events(poll_seconds)

    def predictor(self, trial: int | None = None, *, final: bool | None = None) -> Predictor:
        """What predicts new data with the study's model: its `predict(source)` gives a data frame.

        Args:
            trial: its number; by default the final model, or before there is one, the best trial.
            final: False is the best trial of the search, also where there is a final model.

        Raises:
            HpoError: there is no such trial, its files are missing or damaged, or its data module cannot read new data.
        """
        from hpo.service.predict import chosen_models, predictor_of

        return predictor_of(chosen_models(self, trial, final=final), self._project)

    def ensemble(self) -> Ensemble:
        """Of the models that the search and its re-runs have kept, those that are best together on the validation part.

        Its `choice` says how good they are, and whether that pays; its `predictor()` and `export()` use them. What
        `finalize(ensemble=True)` keeps is chosen likewise.

        Raises:
            HpoError: no model was kept, the data or the code is other than in the search, or they cannot be evaluated.
        """
        from hpo.service.ensemble import ensemble_here

        return ensemble_here(self._store, self.name, project_folder(self._project), self._folder())

    def replay(
        self, trial: int, epochs: int | None = None, *, on_epoch: Callable[[int, int], None] | None = None
    ) -> Replay:
        """Train a trial again on this machine, outside of the study, and compare it bit by bit with what it was.

        Args:
            trial: its number.
            epochs: only the first so many, or steps; by default all that it was trained for.
            on_epoch: called with the epoch that has ended, and the last one.

        Raises:
            StoreError: the study has no such trial, or another program made it.
            SpecError: the trial has trained no epoch, or none among so many.
            LoadError: its classes cannot be imported.
            RunError: its training fails now.
        """
        from hpo.service.replay_stored import replay_stored

        server = ForkServer.start(clean_environment(self._store.url.password))
        try:
            return replay_stored(
                self._store,
                self.name,
                trial,
                epochs=epochs,
                server=server,
                project=project_folder(self._project),
                on_epoch=on_epoch or (lambda epoch, last: None),
            )
        finally:
            server.stop()

    def export(
        self,
        format: str = "onnx",
        *,
        out: str | Path | None = None,
        trial: int | None = None,
        final: bool | None = None,
        baseline: str | None = None,
    ) -> Exported:
        """Write a trial's model to a folder that runs without this package, and compare it with the original.

        Args:
            format: onnx, torch-export or safetensors.
            out: the folder; by default STUDY-FORMAT in the current one. That of an earlier export is replaced.
            trial, final: as of `predictor`.
            baseline: instead, the simple model of this name that `finalize` compares with, such as `gradient boosting`.

        Raises:
            HpoError: there is no such trial, its files or its data are missing, or it cannot be written so.
        """
        from hpo.service.export import export

        server = ForkServer.start(clean_environment(self._store.url.password))
        try:
            folder = project_folder(self._project)
            return export(
                server, self._store, self, format, out, trial=trial, final=final, baseline=baseline, project=folder
            )
        finally:
            server.stop()

    def _request(self, trial: int | None, state: StudyState, request: Request | None) -> str:
        from hpo.service.steer import request_study, request_trial  # which imports pydantic, a tenth of a second

        if trial is None:
            return request_study(self._store, self.name, state, artifacts=self._folder())
        return request_trial(self._store, self.name, trial, request, artifacts=self._folder())

    def _folder(self) -> Path:
        return artifacts_folder(self._artifacts, self._project)
