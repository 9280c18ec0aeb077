"""The parts that a worker needs to train the trials of one study: store, outbox, history, server, folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpo.ipc.fork_server import ForkServer
from hpo.search.history import History
from hpo.store import Store
from hpo.worker.failures import Failures
from hpo.worker.outbox import Outbox
from hpo.worker.provenance import StudyProvenance
from hpo.worker.study_folder import StudyFolder


@dataclass(frozen=True)
class StudyContext:
    """The context of one study on one worker.

    Attributes:
        server: has imported the study's classes; forks its trials.
        folder: for the study's checkpoints and logs.
        worker_id: the worker's number in the store.
        provenance: of its trials, what they have in common.
    """

    store: Store
    outbox: Outbox
    history: History
    failures: Failures
    server: ForkServer
    project: Path
    folder: StudyFolder
    worker_id: int
    provenance: StudyProvenance
