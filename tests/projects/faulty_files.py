"""File calls that fail: in every process of a worker, those on files of a study fail as the study's name says.

A worker that is started with `environment` loads this as `sitecustomize`, before any of our code, so that nothing of
the service knows of it. A study called `faults-SEED` has a `Plan` of its own: by its seed the same calls fail again.
`os.stat`, `os.fsync` and `os.ftruncate`, which Python does not audit, are wrapped.
"""

from __future__ import annotations

import errno
import os
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARTIFACTS, DIARY = "HPO_TEST_FAULTS_ARTIFACTS", "HPO_TEST_FAULTS_DIARY"
ERRORS = ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EACCES", "EPERM")
LATEST_CALL, MOST_FAILURES = 40, 6
_AUDITED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir", "os.truncate"}
_WRAPPED = ("stat", "lstat", "fsync", "ftruncate")
_STUDY = re.compile(r"/(faults-(\d+)[^/]*)-\d{8}-\d{6}(?:/|$)")


@dataclass(frozen=True)
class Plan:
    """Which calls of a study fail.

    Attributes:
        role: of the processes in which they do: `worker` or `trial`.
        first: the first call that fails, from 1 on.
        count: how many fail in a row.
        error: the name of the errno.
    """

    role: str
    first: int
    count: int
    error: str

    @staticmethod
    def of(seed: int) -> Plan:
        draw = random.Random(seed)
        return Plan(
            role=draw.choice(["worker", "trial"]),
            first=draw.randint(1, LATEST_CALL),
            count=draw.choice([1, 1, 2, 3, MOST_FAILURES]),
            error=draw.choice(ERRORS),
        )


def environment(folder: Path, artifacts: Path) -> dict[str, str]:
    """Variables for processes whose file calls in the artifacts fail.

    Args:
        folder: for the module that installs the faults, and for the diary of the calls.
    """
    (folder / "diary").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text("from projects.faulty_files import install\n\ninstall()\n")
    paths = [str(folder), str(Path(__file__).resolve().parents[1])]
    return {"PYTHONPATH": os.pathsep.join(paths), ARTIFACTS: str(artifacts), DIARY: str(folder / "diary")}


def failures(folder: Path, study: str) -> list[str]:
    """The calls of a study that have failed so far, one line each."""
    file = folder / "diary" / f"{study}.failed"
    return file.read_text().splitlines() if file.exists() else []


def calls(folder: Path, study: str) -> int:
    """How many calls the processes have made in which a study's fail."""
    file = folder / "diary" / f"{study}.calls"
    return file.stat().st_size if file.exists() else 0


def install() -> None:
    """Make the calls of this process fail, and those of the processes that it forks."""
    if ARTIFACTS not in os.environ:
        return
    role = "trial" if "hpo.training.server" in " ".join(sys.orig_argv) else "worker"
    faults = _Faults(Path(os.environ[ARTIFACTS]), Path(os.environ[DIARY]), role)
    sys.addaudithook(faults.on_event)
    for name in _WRAPPED:
        setattr(os, name, faults.wrapped(getattr(os, name), name))


class _Faults:
    def __init__(self, artifacts: Path, diary: Path, role: str) -> None:
        self._artifacts = str(artifacts)
        self._diary = diary
        self._role = role
        self._is_inside = False  # its own calls do not fail

    def on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _AUDITED:
            return
        self._look(event, arguments[0])
        if event == "os.rename":
            self._look(event, arguments[1])

    def wrapped(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            self._look(name, path)
            return function(path, *arguments, **named)

        return call

    def _look(self, call: str, path: Any) -> None:
        if self._is_inside:
            return
        self._is_inside = True
        try:
            text = self._text(path)
            found = _STUDY.search(text) if text.startswith(self._artifacts) else None
            if found is not None:
                self._count(found[1], Plan.of(int(found[2])), call, text)
        finally:
            self._is_inside = False

    def _text(self, path: Any) -> str:
        """The path of an argument; of a descriptor, that of its file."""
        if isinstance(path, bool) or not isinstance(path, int | str | bytes | os.PathLike):
            return ""
        if isinstance(path, int):
            try:
                return str(Path(f"/proc/self/fd/{path}").readlink())
            except OSError:
                return ""
        return os.fsdecode(path)

    def _count(self, study: str, plan: Plan, call: str, path: str) -> None:
        if plan.role != self._role:
            return
        file = os.open(self._diary / f"{study}.calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, b".")
            number = os.lseek(file, 0, os.SEEK_END)
        finally:
            os.close(file)
        if plan.first <= number < plan.first + plan.count:
            with (self._diary / f"{study}.failed").open("a") as failed:
                failed.write(f"{number} {call} {path}\n")
            code = getattr(errno, plan.error)
            raise OSError(code, os.strerror(code), path)
