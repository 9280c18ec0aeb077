"""A study file that is sent to a server: read and checked here, and submitted by a process of its own.

That process imports torch and the study's classes, as `hpo submit` does, so that the server need not. Whoever sends a
file names code that runs: it must be a class that the project folder defines (`hpo.loading.CONFINED`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpo import errors
from hpo.errors import HpoError, LoadError, RunError
from hpo.loading import CONFINED, check_confined
from hpo.printable import printable
from hpo.results.warm_start import PREFIX
from hpo.store import Store, StoreUrl
from hpo.study.objects import objects_of
from hpo.study.spec import StudySpec
from hpo.study.study_file import KeyPath, Source, apply_changes

SECONDS = 300.0  # that a submission may take
SECRETS = ("SECRET", "TOKEN", "PASSWORD")  # in names of variables that the study's code need not see

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """A study file as it was sent.

    Attributes:
        file: its path where it comes from, for errors, and for the study's default name.
        name: of the study, instead of the file's.
        changes: `key=value`, that override the file.
        studies: the only ones that may be named; None for all.
    """

    text: str
    file: str = "study.yaml"
    name: str | None = None
    changes: tuple[str, ...] = ()
    is_change_accepted: bool = False
    studies: frozenset[str] | None = None

    def read(self, project: Path) -> tuple[StudySpec, Source]:
        """The study, validated; nothing is imported.

        Raises:
            SpecError: it is invalid, or names a class that the project folder does not have, another store, or a study
                that it may not; all problems at once.
        """
        source = Source.of_text(self.text, self.file)
        apply_changes(source, self.changes)
        if self.name is not None:
            source.set(("study",), self.name, "name")
        spec = source.study()
        if problems := [*_beyond_the_project(spec, project), *self._not_to_be_named(spec)]:
            raise source.error(problems)
        return spec, source

    def _not_to_be_named(self, spec: StudySpec) -> Iterator[tuple[KeyPath, str]]:
        """Other stores, which the server would connect to, and studies that the caller may not see."""
        for place, name in enumerate(spec.start_from):
            if "@" in name:
                yield ("start_from", place), "a study that is submitted to a server starts from studies of its store"
        named = [
            (("study",), spec.study),
            *((("start_from", place), name) for place, name in enumerate(spec.start_from)),
            *(((key,), name) for key in ("model", "data", "space") for name in _weights_in(getattr(spec, key))),
        ]
        for path, name in named:
            if self.studies is not None and name not in self.studies:
                yield path, f"this token is not for a study '{name}'"


def submit_in_process(
    submission: Submission, *, store: StoreUrl, project: Path, artifacts: Path, seconds: float = SECONDS
) -> dict[str, Any]:
    """Submit a study as `hpo submit` does; the `study`, a `message` that says what was done, and `notes`.

    Raises:
        HpoError: as `hpo.service.assembly.submit`.
        RunError: it took too long, or the process ended without an answer.
    """
    order = {**asdict(submission), "studies": None if submission.studies is None else sorted(submission.studies)}
    request = {"submission": order, "store": store.reveal(), "project": str(project), "artifacts": str(artifacts)}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("HPO_") and any(word in name for word in SECRETS))
    }
    # a file, since nobody would read a pipe while the process ends
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "hpo.service.submission", str(answer.fileno())],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**environment, CONFINED: "1"},
            pass_fds=[answer.fileno()],
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps(request).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RunError(f"the study was not submitted: its first batch took more than {seconds:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0)
        text = answer.read()
        if not text:
            said.seek(0)
            log.warning("a submission ended without an answer: %s", printable(said.read()[-2000:]))
            raise RunError("the study was not submitted: the process that imports its classes has ended")
    found: dict[str, Any] = json.loads(text)
    if "error" in found:
        raise getattr(errors, found["error"])(found["text"])
    return found


def _beyond_the_project(spec: StudySpec, project: Path) -> Iterator[tuple[KeyPath, str]]:
    several = len(spec.models) > 1
    labels: list[tuple[KeyPath, str | None]] = [
        *((("model", place) if several else ("model",), one.label) for place, one in enumerate(spec.models)),
        (("data",), spec.data.label),
        (("sampler",), spec.sampler.label),
        (("pruner",), spec.pruner.label),
        *((tuple(found.path), found.label) for found in objects_of(spec)),
    ]
    for path, label in labels:
        try:
            if label is not None:
                check_confined(label, project)
        except LoadError as error:
            yield path, str(error)


def _weights_in(value: Any) -> Iterator[str]:
    """The studies whose trials' weights are named in a part of a study file."""
    if isinstance(value, str) and value.startswith(PREFIX):
        yield value.removeprefix(PREFIX).rpartition("/")[0]
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _weights_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _weights_in(item)
    elif hasattr(value, "arguments"):
        yield from _weights_in(value.arguments)


class _Notes(logging.Handler):
    """Keeps what is logged for people."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _submit(request: Mapping[str, Any]) -> dict[str, Any]:
    from hpo.service.assembly import Workspace, submit
    from hpo.service.server import start_server

    plain, project, artifacts = request["submission"], Path(request["project"]), Path(request["artifacts"])
    studies = None if plain["studies"] is None else frozenset(plain["studies"])
    submission = Submission(**{**plain, "changes": tuple(plain["changes"]), "studies": studies})
    notes = _Notes()
    logging.getLogger("hpo").addHandler(notes)
    server = start_server(request["store"], project, artifacts)
    try:
        spec, source = submission.read(project)
        with Store.create(StoreUrl.parse(request["store"])) as store:
            workspace = Workspace(server, project, store, artifacts)
            _, message = submit(workspace, spec, source, is_change_accepted=submission.is_change_accepted)
    finally:
        server.stop()
    return {"study": spec.study, "message": message, "notes": notes.lines}


def main() -> None:
    """Submit what stdin describes, and write the answer into the file with the given descriptor."""
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answer:
        try:
            found = _submit(json.load(sys.stdin))
        except HpoError as error:
            kind = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
            found = {"error": kind, "text": str(error)}
        json.dump(found, answer)


if __name__ == "__main__":
    main()
