"""The studies of a worker: it finds open ones, refuses those that its machine cannot train, and adopts the rest.

Each adopted study has its own server, which has imported the study's classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpo.errors import HpoError, SpecError, StoreError
from hpo.ipc.fork_server import ForkServer
from hpo.queue.progress import Progress, load_progress
from hpo.queue.studies import Bounds, StoredStudy, bounds_of_running, load_study
from hpo.store import Store
from hpo.study.devices import Slot
from hpo.study.fingerprints import changed_inputs, inputs_of
from hpo.study.job import StudyJob
from hpo.study.limits import trials_in_words
from hpo.study.objects import objects_of
from hpo.study.resolved_study import ResolvedStudy, resolve
from hpo.study.study_file import Source
from hpo.worker.outbox import Outbox
from hpo.worker.provenance import StudyProvenance, ask_git
from hpo.worker.study_run import StudyRun
from hpo.worker.transfers import Transfers

log = logging.getLogger(__name__)


class StudyAssignments:
    """The studies of one worker, and the servers that fork their trials.

    Args:
        server: has imported torch and Lightning, or is importing them; the studies' own servers are forked from it.
        slot: one of the worker's, which are all alike.
        on_over: called with each study that is found to be over, and its progress.

    Attributes:
        runs: the adopted studies, by the store's id.
        servers: the worker's, and those of the studies.
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
        transfers: Transfers,
        on_over: Callable[[int, Progress], None],
    ) -> None:
        self.runs: dict[int, StudyRun] = {}
        self.servers = [server]
        self._store = store
        self._outbox = outbox
        self._slot = slot
        self._project = project
        self._artifacts = artifacts
        self._worker_id = worker_id
        self._transfers = transfers
        self._on_over = on_over
        self._running: dict[int, Bounds] = {}  # as of the last look
        self._refused: dict[int, Bounds] = {}  # as long as their bounds stay these
        self._named: dict[str, int] = {}  # the store's ids of those that were adopted by name
        self._over: dict[int, Bounds] = {}  # studies with nothing left to do, as long as their bounds stay these

    def adopt_named(self, names: Sequence[str]) -> bool:
        """Adopt the named studies; False while the server is not ready.

        One that is renamed afterwards stays adopted; one that is deleted is adopted again when it is created again.

        Raises:
            HpoError: one of them cannot be worked on.
        """
        if not self.servers[0].ready:
            return False
        for name in names:
            if self._named.get(name) in self.runs:
                continue
            try:
                study = load_study(self._store, name)
            except StoreError:
                if name in self._named:  # it was deleted
                    continue
                raise
            if study.study_id not in self.runs:
                self._assign(study)
            self._named[name] = study.study_id
        return True

    def adopt_open(self) -> bool:
        """Adopt all open studies; False while the server is not ready.

        One statement reads all studies, and those known to be over cost no further one: a service that runs for weeks
        sees hundreds of them.
        """
        if not self.servers[0].ready:
            return False
        self._running = running = bounds_of_running(self._store)
        self._over = {study_id: bounds for study_id, bounds in self._over.items() if running.get(study_id) == bounds}
        self._refused = {
            study_id: bounds for study_id, bounds in self._refused.items() if running.get(study_id) == bounds
        }
        for study_id, bounds in running.items():
            if study_id in self.runs or study_id in self._refused or study_id in self._over:
                continue
            if (progress := load_progress(self._store, study_id)).is_over:
                self._on_over(study_id, progress)
                self._over[study_id] = bounds
                continue
            try:
                self._assign(load_study(self._store, bounds.name))
            except (HpoError, ValueError) as error:  # a ValueError: a newer release wrote a file unknown to this one
                self._refused[study_id] = bounds
                log.warning("study %s cannot be trained by this worker: %s", bounds.name, error)
        return True

    def drop_finished(self, busy: Collection[int], *, only_superseded: bool = False) -> list[ForkServer]:
        """Drop the studies that are over; the servers that are no longer needed. `adopt_open` adopts extended ones.

        Args:
            busy: studies whose trials this worker still trains.
            only_superseded: keep those that are over, which may be extended.
        """
        for study_id, run in list(self.runs.items()):
            is_left = run.is_superseded if only_superseded else run.is_over
            if is_left and study_id not in busy:
                del self.runs[study_id]
                if run.is_hindered and study_id in self._running:
                    self._refused[study_id] = self._running[study_id]
                log.info("study %s: over for this worker", run.study.name)
        needed = [self.servers[0], *(run.server for run in self.runs.values())]
        left = [server for server in self.servers if server not in needed]
        self.servers = [server for server in self.servers if server in needed]
        return left

    def adopt(
        self,
        study: StoredStudy,
        *,
        server: ForkServer,
        resolved: ResolvedStudy,
        paths: Mapping[str, Path],
        provenance: StudyProvenance,
    ) -> StudyRun:
        """Work on a study.

        Args:
            server: has imported the study's classes.
            resolved: the study as this machine's code resolves it.
            paths: of its data here.
            provenance: to be recorded with its trials.

        Raises:
            StoreError: this machine's code resolves to another search than the stored one, or it or the data is other.
            SpecError: its trials need other devices than this worker's slots have.
        """
        self._check_slots(study)
        changes = changed_inputs(resolved.inputs, study.resolved.inputs)
        if differences := resolved.differences(study.resolved) or changes:
            lines = "".join(f"\n  {line}" for line in differences)
            what = "data or code than what is" if changes else "code than that"
            advice = "\nBring them up to date here, or submit the study again with --accept-changes" if changes else ""
            raise StoreError(f"study '{study.name}' was created with other {what} in {self._project}:{lines}{advice}")
        run = StudyRun(
            self._store,
            study,
            outbox=self._outbox,
            server=server,
            project=self._project,
            artifacts=self._artifacts,
            worker_id=self._worker_id,
            paths=paths,
            provenance=provenance,
            transfers=self._transfers,
        )
        self.runs[study.study_id] = run
        if server not in self.servers:
            self.servers.append(server)
        return run

    def _assign(self, study: StoredStudy) -> None:
        spec = study.resolved.spec
        job = StudyJob(str(self._project), spec.classes, objects=objects_of(spec))
        tree = ask_git(self._project)
        server, described = self.servers[0].serve_study(job)
        try:
            resolved = resolve(spec, described["classes"], Source.of_stored(study.name))
            paths = resolved.paths(described["classes"], self._project)
            resolved = replace(resolved, inputs=inputs_of(described["code"], paths))
            provenance = StudyProvenance(tree, resolved.inputs, described["libraries"])
            self.adopt(study, server=server, resolved=resolved, paths=paths, provenance=provenance)
        except HpoError:
            if server not in self.servers:
                server.stop()
            raise
        log.info("study %s: working on it, %s", study.name, trials_in_words(study.trials_target))

    def _check_slots(self, study: StoredStudy) -> None:
        needed, slot = study.resolved.spec.resources, self._slot
        if needed.devices_per_trial != slot.ranks or needed.accelerator not in ("auto", slot.accelerator):
            kind = "" if needed.accelerator == "auto" else f" ({needed.accelerator})"
            raise SpecError(
                f"study '{study.name}' trains a trial on {needed.devices_per_trial} devices{kind}, but a slot of this "
                f"worker is {slot.device}: start a worker for it: hpo worker {study.name}"
            )
