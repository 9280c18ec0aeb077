"""What a call in Python requests: the study, where its classes are imported from, and where its results are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.loading import import_folder
from hpo.service.assembly import Workspace
from hpo.settings import artifacts_folder, project_folder, store_url
from hpo.store import Store
from hpo.study.object_store import check_artifacts
from hpo.study.spec import StudySpec
from hpo.study.study_file import Source


@dataclass(frozen=True)
class Request:
    """A study that a call requests.

    Attributes:
        project: folder that classes are imported from.
        home: folder that the store and the artifacts are in by default, where `hpo.open_study` looks for them.
    """

    spec: StudySpec
    source: Source
    project: Path
    home: Path

    @contextlib.contextmanager
    def workspace(
        self, server: ForkServer, *, store: str | None = None, artifacts: str | Path | None = None
    ) -> Iterator[Workspace]:
        """Where the study is created and trained, for as long as the block lasts.

        Raises:
            StoreError: the store cannot be reached, written, or has an older or newer schema.
            SpecError: the artifacts are no folder.
        """
        folder = artifacts_folder(None if artifacts is None else Path(artifacts), self.home)
        check_artifacts(folder)
        with Store.create(store_url(store, self.home)) as opened:
            yield Workspace(server, self.project, opened, folder)


def read_request(
    call: str,
    study: str | Path | Mapping[str, Any] | StudySpec | None,
    keys: Mapping[str, Any],
    *,
    name: str | None,
    trials: int | None,
    project: str | Path | None,
) -> Request:
    """Validate what a call requests.

    Args:
        call: such as `hpo.run`, to be named in errors.
        study: a file, its keys, or a StudySpec; None when the keywords say all of it.
        keys: of a study file; they override those of `study`.
        name: of the study, instead of the one in `study`.
        trials: instead of the budget's.
        project: the folder that classes are imported from, as the user gives it.

    Raises:
        SpecError: the study is invalid (all problems at once); or its classes were imported from
            different folders.
    """
    source = _source(call, study, keys)
    for key, value in keys.items():
        source.set((key,), value, call)
    if name is not None:
        source.set(("study",), name, call)
    if trials is not None:
        source.set(("budget", "trials"), trials, call)
    spec = source.study()
    home = project_folder(None if project is None else Path(project))
    # A file's import paths start from the project folder; classes that this process has imported bring their own.
    is_by_path = isinstance(study, str | Path) and not {"model", "data"} & keys.keys()
    found = None if project is not None or is_by_path else _import_folder(spec, source)
    return Request(spec, source, found or home, home)


def _source(call: str, study: str | Path | Mapping[str, Any] | StudySpec | None, keys: Mapping[str, Any]) -> Source:
    if isinstance(study, str | Path):
        return Source.of_file(Path(study))
    if isinstance(study, StudySpec):
        return Source.of_mapping(study.model_dump(), call=call)
    if study is None or isinstance(study, Mapping):
        plain = study or {}
        return Source.of_mapping({"study": _name_of(keys.get("model", plain.get("model"))), **plain}, call=call)
    raise SpecError(
        f"{call}: a study is a file's path, a dict or hpo.StudySpec, not {type(study).__name__}; a model is given by "
        "its keyword: model=..."
    )


def _name_of(model: Any) -> str:
    """A study's name where none is given: its model's."""
    if isinstance(model, Mapping):
        model = model.get("class", "")
    return model.__name__ if isinstance(model, type) else str(model or "").rpartition(":")[2] or "study"


def _import_folder(spec: StudySpec, source: Source) -> Path | None:
    """The folder that this process imported the study's classes from; None where it does not matter."""
    data = import_folder(spec.data.label)
    models = {one.label: import_folder(one.label) for one in spec.models}
    for label, model in models.items():
        if model is not None and data is not None and model != data:
            text = (
                f"{spec.data.label} was imported from {data}, and {label} from {model}: a study imports both from one "
                "project folder. Move one of them, or name a folder that both can be imported from with project="
            )
            raise source.error([(("data",), text)])
    return next((folder for folder in models.values() if folder is not None), data)
