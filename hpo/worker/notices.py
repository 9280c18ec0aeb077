"""A worker's part in notifications: it writes down what it sees happen in its studies, and has it sent."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable
from pathlib import Path

from hpo.notify.courier import Courier
from hpo.queue.notifications import StoreTargets, store_setting, targets_in
from hpo.queue.occasions import is_told, record, signs
from hpo.queue.progress import Progress, load_progress
from hpo.store import Store
from hpo.worker.study_run import StudyRun

log = logging.getLogger(__name__)

LAST_SECONDS = 30.0  # for which a worker at its end waits for receivers
DRAIN_SECONDS = 5.0  # one that was asked to end: preemption leaves little time


class Notices:
    """What people are told by one worker.

    A study without targets costs nothing. What a worker has seen of the others it remembers, so that only news costs
    statements.
    """

    def __init__(self, store: Store, project: Path) -> None:
        self._store = store
        self._courier = Courier(store.url, project)
        with store.read() as connection:
            self._setting: str | None = connection.scalar(store_setting())
        self._store_targets = StoreTargets.of(self._setting)
        self._seen: dict[tuple[int, float], set[Hashable]] = {}  # by the study's number and creation
        self._unfinished: dict[int, float] = {}  # over for this worker, while others still train its trials
        self._has_news = False

    def take_poll(self, setting: str | None, *, due: int) -> None:
        """What the poll has read: the store's own targets, and how many notifications somebody should send."""
        if setting != self._setting:
            self._setting, self._store_targets = setting, StoreTargets.of(setting)
        if due:
            self._courier.wake()
            self._has_news = True

    def look(self, runs: Collection[StudyRun]) -> None:
        """Write down what has happened in the studies since the last look, and have it sent."""
        for run in runs:
            self._look_at(run)
        for study_id, created in list(self._unfinished.items()):
            progress = load_progress(self._store, study_id)
            if progress.created != created or not progress.is_over:
                del self._unfinished[study_id]
            elif progress.counts.begun == 0:
                del self._unfinished[study_id]
                self._record(study_id, created)

    def _look_at(self, run: StudyRun) -> None:
        targets = (*run.resolved.spec.notify, *self._store_targets.targets)
        progress, key = run.progress, (run.study.study_id, run.study.created)
        if not targets or progress.is_deleted:
            return
        if progress.is_over and progress.counts.begun:
            self._unfinished[key[0]] = key[1]
        best = None if run.best is None or run.resolved.spec.objectives.are_several else run.best.number
        found = signs(progress, targets, best=best)
        seen = self._seen.setdefault(key, set())
        if found - seen:
            self._record(*key)
            seen |= found

    def look_at_ended(self, study_id: int, progress: Progress) -> None:
        """A study is over that this worker did not train: whoever did may have died before it wrote that down."""
        targets = (*targets_in(progress.spec), *self._store_targets.targets)
        if targets and progress.created is not None and not is_told(self._store, study_id, progress):
            self._record(study_id, progress.created)

    def _record(self, study_id: int, created: float) -> None:
        for one in record(self._store, study_id, created=created):
            log.debug("to be told: %s (%s)", one.event, one.occasion)
            self._has_news = True
            self._courier.wake()

    def finish(self, *, is_draining: bool) -> None:
        """The worker ends: wait a moment for what is being sent."""
        if self._has_news:
            self._courier.finish(DRAIN_SECONDS if is_draining else LAST_SECONDS)
