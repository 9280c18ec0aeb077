"""A study that was read, prepared to be searched: its classes imported, its space resolved, its algorithms checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hpo.errors import HpoError, LoadError, SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.loading import check_label
from hpo.queue.enqueue import point_problems
from hpo.search.algorithms import make_pruner, sampler_factory
from hpo.search.grid import check_grid
from hpo.service.earlier import refuse_passwords
from hpo.space import SearchSpace
from hpo.study.alternatives import MODEL
from hpo.study.by_value import pack
from hpo.study.job import StudyJob
from hpo.study.objects import objects_of
from hpo.study.resolved_study import ResolvedStudy, resolve
from hpo.study.spec import StudySpec
from hpo.study.study_file import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedStudy:
    """A study that can be tried, created and trained; leaving its block ends the processes of its own.

    Attributes:
        source: where its keys come from, to be named in errors.
        server: has imported the study's classes and forks its trials.
        parent: the server that this one was forked from; the same where the classes' modules do not survive a fork.
        project: folder that classes are imported from.
        code: fingerprints of the modules that were imported for it.
        libraries: versions of the packages that these have imported, by name.
        paths: of its data, see `ResolvedStudy.paths`.
        portfolio: points that its models' portfolios have for its space, after the defaults; empty unless it asks.
    """

    resolved: ResolvedStudy
    source: Source
    server: ForkServer
    parent: ForkServer
    project: Path
    code: Mapping[str, str]
    libraries: Mapping[str, str]
    paths: Mapping[str, Path]
    portfolio: Sequence[Mapping[str, Any]] = ()

    @property
    def spec(self) -> StudySpec:
        """The validated study file."""
        return self.resolved.spec

    def close(self) -> None:
        """End the study's own server; the parent goes on."""
        if self.server is not self.parent:
            self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare(spec: StudySpec, source: Source, *, server: ForkServer, project: Path) -> PreparedStudy:
    """Import the study's classes below a server, and resolve the study against them.

    Raises:
        LoadError: a class cannot be imported, or is not what it should be.
        SpecError: a name is unknown, or a range or an option is invalid; all problems, with file and line.
        RunError: the server has exited.
    """
    refuse_passwords(spec, source)
    labels = spec.classes
    objects = objects_of(spec)
    try:
        job = StudyJob(
            str(project), labels, pack([*labels.values(), *(found.label for found in objects)]), objects=objects
        )
        study_server, described = server.serve_study(job)
    except (LoadError, SpecError) as error:
        first = str(error).partition(": ")[0]
        if first in {"data", *(".".join(map(str, found.path)) for found in objects)}:
            raise source.place(first.split(".")[0], error) from error
        is_data = str(error).startswith((f"{spec.data.label}:", f"{spec.data.label} "))
        raise source.place("data" if is_data else "model", error) from error
    try:
        resolved = resolve(spec, described["classes"], source)
        _check_algorithms(resolved, source, project)
        _check_points(resolved, source)
        if not source.is_stored:  # of which it was told when it was created
            for remark in resolved.remarks:
                log.warning("%s: space: %s", source.file, remark)
    except HpoError:
        if study_server is not server:
            study_server.stop()
        raise
    paths = resolved.paths(described["classes"], project)
    code, libraries = described["code"], described["libraries"]
    portfolio = _portfolio(resolved, described["classes"]) if spec.first_trial == "portfolio" else ()
    return PreparedStudy(resolved, source, study_server, server, project, code, libraries, paths, portfolio)


def space_of_class(label: str, *, server: ForkServer, project: Path) -> SearchSpace:
    """The search space of one model or data module, by its import path.

    Raises:
        LoadError: it cannot be imported, or is neither a model nor a data module.
        SpecError: a range of its constructor is invalid.
    """
    check_label(label)
    study_server, described = server.serve_study(StudyJob(str(project), {"any": label}))
    if study_server is not server:
        study_server.stop()
    return SearchSpace.from_json(next(iter(described["classes"].values()))["space"])


def _portfolio(resolved: ResolvedStudy, classes: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The defaults, and the points of the models' portfolios that are points of the study's space.

    What the study fixes is left as it fixes it, and what the data module does not take at its default; a point with
    another value that the study does not search is left out.
    """
    found: list[Mapping[str, Any]] = [*resolved.first_points()]
    models = [classes[key] for key in resolved.spec.classes if key != "data"]
    for place, described in enumerate(models):
        chosen, names = {}, {}
        if resolved.alternatives:
            chosen = {MODEL: resolved.alternatives[place].name}
            names = {argument: name for name, argument in resolved.alternatives[place].arguments.items()}
        for point in described["portfolio"]:
            values = {names.get(key, key): value for key, value in point.items()}
            values = {key: value for key, value in values.items() if key in resolved.space}
            misfits = [key for key, value in values.items() if resolved.space[key].range.problem(value) is not None]
            if all(resolved.space[key].owner == "data" for key in misfits):
                fitting = {key: value for key, value in values.items() if key not in misfits}
                found.append(resolved.space.defaults(**chosen, **fitting))
    return found


def _check_points(resolved: ResolvedStudy, source: Source) -> None:
    problems = [
        (("points", place), problem)
        for place, point in enumerate(resolved.spec.points)
        for problem in point_problems(resolved.space, resolved.constants, point)
    ]
    if problems:
        raise source.error(problems)


def _check_algorithms(resolved: ResolvedStudy, source: Source, project: Path) -> None:
    spec = resolved.spec
    try:
        sampler_factory(spec, resolved.space, project)
        if spec.sampler.name == "grid":
            check_grid(resolved.space, trials=spec.budget.trials_target)
    except HpoError as error:
        raise source.place("sampler", error) from error
    try:
        make_pruner(spec, project)
    except HpoError as error:
        raise source.place("pruner", error) from error
