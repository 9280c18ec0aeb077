"""Which studies a worker works on: it looks for open ones, refuses what its machine cannot train, and adopts the rest.

A study that is adopted has a server of its own, which has imported its classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hpo.definition import Definition, resolve
from hpo.devices import Slot
from hpo.errors import HpoError, SpecError, StoreError
from hpo.outbox import Outbox
from hpo.processes import ForkServer, study_job
from hpo.store import Store
from hpo.studies import StoredStudy, load, load_open
from hpo.studyfile import Source
from hpo.studyrun import StudyRun

log = logging.getLogger(__name__)


class Adoption:
    """The studies of one worker, and the servers that fork their trials.

    Args:
        server: has torch and Lightning, or is about to; the studies' own servers are started below it.
        slot: one of the worker's, which are all alike.

    Attributes:
        runs: the adopted studies, by the store's id.
        servers: the one of the worker, and those of studies.
    """

    def __init__(
        self,
        store: Store,
        *,
        outbox: Outbox,
        server: ForkServer,
        slot: Slot,
        project: Path,
        artifacts: Path,
        worker_id: int,
    ) -> None:
        self.runs: dict[int, StudyRun] = {}
        self.servers = [server]
        self._store = store
        self._outbox = outbox
        self._slot = slot
        self._project = project
        self._artifacts = artifacts
        self._worker_id = worker_id
        self._refused: set[int] = set()

    def look(self, names: Sequence[str]) -> bool:
        """Adopt the named studies, or whatever study is open; whether that could be done already.

        Raises:
            HpoError: a named study cannot be worked on.
        """
        if not self.servers[0].ready:
            return False
        for study in [load(self._store, name) for name in names] if names else load_open(self._store):
            if study.study_id in self.runs or study.study_id in self._refused:
                continue
            try:
                self._take_on(study)
            except HpoError as error:
                self._refused.add(study.study_id)
                log.warning("study %s is not for this worker: %s", study.name, error)
                if names:
                    raise
        return True

    def adopt(self, study: StoredStudy, *, server: ForkServer, definition: Definition) -> StudyRun:
        """Work on a study.

        Args:
            server: has imported the study's classes.
            definition: what this machine's code makes of the study.

        Raises:
            StoreError: this machine's code resolves to another search than the stored one.
            SpecError: its trials need other devices than this worker's slots have.
        """
        self._check_slots(study)
        if differences := definition.differences(study.definition):
            lines = "".join(f"\n  {line}" for line in differences)
            raise StoreError(f"study '{study.name}' was created with other code than is in {self._project}:{lines}")
        run = StudyRun(
            self._store,
            study,
            outbox=self._outbox,
            server=server,
            project=self._project,
            artifacts=self._artifacts,
            worker_id=self._worker_id,
        )
        self.runs[study.study_id] = run
        if server not in self.servers:
            self.servers.append(server)
        return run

    def _take_on(self, study: StoredStudy) -> None:
        spec = study.definition.spec
        job = study_job(self._project, {"model": spec.model.label, "data": spec.data.label})
        server, classes = self.servers[0].serve_study(job)
        definition = resolve(spec, classes, Source.of_stored(study.name))
        self.adopt(study, server=server, definition=definition)
        log.info("study %s: working on it, %d trials asked for", study.name, study.trials_target)

    def _check_slots(self, study: StoredStudy) -> None:
        wanted, slot = study.definition.spec.resources, self._slot
        if wanted.devices_per_trial != slot.ranks or wanted.accelerator not in ("auto", slot.accelerator):
            kind = "" if wanted.accelerator == "auto" else f" ({wanted.accelerator})"
            raise SpecError(
                f"study '{study.name}' trains a trial on {wanted.devices_per_trial} devices{kind}, and a slot of this "
                f"worker is {slot.device}: start a worker for it: hpo worker {study.name}"
            )
