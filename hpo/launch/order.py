"""What a launcher is asked for, and what it says of the workers that it has started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hpo.study.object_store import CACHE, address_of

# Of this process's environment, what reaches the workers of any engine.
_PASSED_ON = ("HPO_", "AWS_", "PG")
_OF_THIS_MACHINE = frozenset({CACHE, "HPO_CORES", "HPO_SLOTS", "HPO_HEALTH", "HPO_STUDIES"})


OUTPUT_LINES = 20  # of a worker, that are shown when it has failed


@dataclass(frozen=True)
class Order:
    """Workers that are wanted.

    Attributes:
        name: of the study or the pool, in the names that the engine shows.
        workers: how many.
        studies: that they work on; all open ones where there is none.
        is_until_idle: they end when no trial is left to train.
        store: URL of the store, with its password.
        artifacts: the folder for checkpoints and logs, or the one that mirrors an object store.
        project: folder that classes are imported from.
        outlives: they go on when the process that starts them has exited.
    """

    name: str
    workers: int
    studies: tuple[str, ...]
    is_until_idle: bool
    store: str = field(repr=False)
    artifacts: Path
    project: Path
    outlives: bool = False

    @property
    def arguments(self) -> list[str]:
        """Of Python: the worker. All else is in the environment, where no list of processes shows it."""
        return ["-m", "hpo", "worker", *self.studies, *(["--until-idle"] if self.is_until_idle else [])]

    @property
    def command(self) -> list[str]:
        return [sys.executable, *self.arguments]

    def environment(self) -> dict[str, str]:
        """The variables that a worker needs besides those of its machine; they hold secrets."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(_PASSED_ON) and name not in _OF_THIS_MACHINE
        }
        ours = {"HPO_STORE": self.store, "HPO_ARTIFACTS": address_of(self.artifacts), "HPO_PROJECT": str(self.project)}
        return kept | ours


@dataclass(frozen=True)
class Workers:
    """The workers of an order, as their engine sees them.

    Attributes:
        running: how many run.
        waiting: how many wait for room.
        reason: what those wait for, in words; empty where the engine does not say.
        codes: the exit codes of those that have ended, by a number of the worker.
        output: the last lines of one that failed.
    """

    running: int
    waiting: int = 0
    reason: str = ""
    codes: Mapping[int, int] = field(default_factory=dict)
    output: str = ""

    @property
    def are_gone(self) -> bool:
        return not self.running and not self.waiting

    def __str__(self) -> str:
        """`2 workers run; 1 waits: it needs 4 CPU`."""
        run = f"{self.running} worker{' runs' if self.running == 1 else 's run'}"
        if not self.waiting:
            return run
        why = f": {self.reason}" if self.reason else ""
        return f"{run}; {self.waiting} wait{'s' if self.waiting == 1 else ''}{why}"


class Launcher(Protocol):
    """One engine. Third parties give theirs by an entry point of the group `hpo.launchers`: a function that takes the
    options of `--launcher-option` as a mapping of texts, and returns a launcher.

    Attributes:
        is_cluster: its workers may be on other machines, which share neither a file of SQLite nor, unless it is said,
            a folder of artifacts.
    """

    is_cluster: bool

    def start(self, order: Order) -> str:
        """Start the workers; what `look` and `stop` know them by, also in another process.

        Raises:
            SpecError: the engine is not installed or not reachable, or cannot give what is asked for.
        """

    def look(self, job: str) -> Workers:
        """How the workers are; none runs or waits where the engine does not know them (any more)."""

    def stop(self, job: str) -> None:
        """Ask the workers to hand back their trials and end, and end those that wait; returns when none is left."""


def last_lines(text: str) -> str:
    """The end of a worker's log, to be shown."""
    return "\n".join(text.splitlines()[-OUTPUT_LINES:])
