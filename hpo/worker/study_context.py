"""What a worker has at hand to train the trials of one study: the store and the way to it, a server, a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpo.ipc.fork_server import ForkServer
from hpo.search.history import History
from hpo.store import Store
from hpo.worker.failures import Failures
from hpo.worker.outbox import Outbox


@dataclass(frozen=True)
class StudyContext:
    """One study's, on one worker.

    Attributes:
        server: has imported the study's classes; forks its trials.
        directory: of the study's checkpoints and logs, a folder a trial.
        worker_id: the worker's number in the store.
    """

    store: Store
    outbox: Outbox
    history: History
    failures: Failures
    server: ForkServer
    project: Path
    directory: Path
    worker_id: int
