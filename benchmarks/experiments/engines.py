"""Real engines on this machine, which the tests use too, and searches that a launcher trains on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.workers import PROJECT, Training, Workers, trainings

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from object_store import Bucket, object_store
from ray_cluster import Ray, ray_cluster
from slurm_cluster import Slurm, slurm_cluster

__all__ = ["Bucket", "Ray", "Slurm", "object_store", "ray_cluster", "slurm_cluster"]


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short name, which sockets need, that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="hpo", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Launched(Workers):
    """A study that `hpo run --launcher` trains.

    Args:
        environment: of the command.
    """

    def __init__(self, folder: Path, url: str, *, environment: dict[str, str] | None = None, **keys: Any) -> None:
        super().__init__(folder, url, slots=1, **keys)
        self._more = environment or {}

    def launch(self, launcher: str, *options: str) -> subprocess.Popen[str]:
        words = [word for option in options for word in ("--launcher-option", option)]
        command = [
            *(sys.executable, "-m", "hpo", "run", str(self.folder / "study.yaml"), "--project", str(PROJECT)),
            *("--launcher", launcher, "--workers", "2", *words),
        ]
        return subprocess.Popen(
            command,
            env={**os.environ, **self._environment, **self._more},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def attempts(self) -> list[Training]:
        return trainings(self.diary)


def trained_again(found: list[Training]) -> int:
    """How many epochs were begun more than once."""
    begun = [(training.trial, epoch) for training in found for epoch in training.begun]
    return len(begun) - len(set(begun))
