"""A study on one worker: its progress, its next claim, and its trials' reports and ends."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from hpo.errors import SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.ipc.messages import Answer, Epoch, Probed, Started
from hpo.printable import counted
from hpo.queue.claim import Claim, Place, StudyBusyError, claim_trials
from hpo.queue.counts import TrialCounts
from hpo.queue.findings import earlier_of
from hpo.queue.idle import end_idle_trials, end_paused_trials, standstill
from hpo.queue.plans import end_beaten
from hpo.queue.progress import Progress, progress_of
from hpo.queue.studies import StoredStudy
from hpo.results.removal import ended_by_request
from hpo.results.warm_start import find_weights
from hpo.search.algorithms import make_pruner, sampler_factory, searched_length
from hpo.search.forecast import Begun, SearchSoFar
from hpo.search.halving import ETA, FIRST_RUNG, make_rungs
from hpo.search.history import History
from hpo.search.usual_ends import startup_trials, usual_shares
from hpo.store import Store
from hpo.study.devices import Slot
from hpo.study.fingerprints import in_a_line
from hpo.study.limits import UNLIMITED
from hpo.study.naming import study_folder
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import StudyState
from hpo.study.writable import error_in_words
from hpo.worker.best_so_far import Best, BestSoFar
from hpo.worker.data_watch import DataWatch
from hpo.worker.early_end import EarlyEnd
from hpo.worker.failures import Failures
from hpo.worker.feasibility import take_probe
from hpo.worker.fleet import FIRST_BUSY_PAUSE, LARGE_FLEET, next_busy_pause, sync_pause
from hpo.worker.outbox import Outbox
from hpo.worker.provenance import StudyProvenance, ask_git
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_context import StudyContext
from hpo.worker.study_folder import StudyFolder
from hpo.worker.trainings import take_later_epoch, take_trained
from hpo.worker.transfers import Transfers
from hpo.worker.trial_end import end_trial, forget_ended
from hpo.worker.trial_report import take_epoch, take_start
from hpo.worker.trial_start import begin_trial_processes, start_trial

log = logging.getLogger(__name__)

_CHANGED = "it goes on with other data or code; the same command takes it up again"


class StudyRun:
    """One study on one worker.

    Args:
        paths: of its data, see `ResolvedStudy.paths`.
        provenance: to be recorded with its trials.
        transfers: with the object store of the artifacts, if there is one.

    Attributes:
        progress: of all workers together, as of the last poll.
        workers: the number that are alive.
        stop_reason: why the study was stopped, or cannot be trained here, in words.
    """

    def __init__(
        self,
        store: Store,
        study: StoredStudy,
        *,
        outbox: Outbox,
        server: ForkServer,
        project: Path,
        artifacts: Path,
        worker_id: int,
        paths: Mapping[str, Path] | None = None,
        provenance: StudyProvenance | None = None,
        transfers: Transfers | None = None,
    ) -> None:
        self.study = study
        self._transfers = transfers or Transfers(None)
        self.progress = Progress(study.state, None, TrialCounts(target=study.trials_target))
        self._best = BestSoFar()
        self.epochs_trained = 0  # of all trials
        self._paces: dict[int, float] = {}  # seconds of an epoch or step of this worker's trials, by number
        self.stop_reason: str | None = None
        self._waiting_for: str | None = None  # as it was last logged
        self._obstacle: str | None = None  # why this worker cannot train the study's trials
        self.workers = 1
        self.next_claim = 0.0  # not earlier than this, in monotonic seconds
        self._busy_pause = FIRST_BUSY_PAUSE
        self._next_sync = 0.0  # monotonic seconds
        self._claimed: dict[int, Claim] = {}  # by the number of the slot that is filled next
        self._is_exhausted = False  # the last claim found nothing; tried again after the next poll
        self._is_tidy = False  # the study is over, and what its ended trials do not need is removed
        self._known_spec: str | None = None  # as stored at the last poll
        self._begun: list[Begun] = []
        self._store = store
        self._data = DataWatch(paths or {}, study.resolved.inputs)
        self._artifacts = artifacts
        spec, earlier = self.resolved.spec, None
        if spec.start_from:
            with store.read() as connection:
                earlier = earlier_of(connection, study.study_id)
        length = searched_length(spec, self.resolved.space)
        self._history = History(
            store,
            study.study_id,
            name=study.name,
            objectives=spec.objectives,
            samplers=sampler_factory(spec, self.resolved.space, project, earlier),
            pruner=make_pruner(spec, project),
            diverged=spec.objective.diverged,
            failed=spec.objective.failed,
            rungs=make_rungs(spec),
            length=None if length is None else (length, spec.max_epochs),
        )
        self._early_end = EarlyEnd(store, self._history)
        self._context = StudyContext(
            store=store,
            outbox=outbox,
            history=self._history,
            failures=Failures(store),
            server=server,
            project=project,
            folder=self._folder(study),
            worker_id=worker_id,
            provenance=provenance or StudyProvenance(ask_git(project), study.resolved.inputs),
        )

    @property
    def resolved(self) -> ResolvedStudy:
        return self.study.resolved

    @property
    def best(self) -> Best | None:
        """The best trial so far."""
        return self._best.trial

    @property
    def counts(self) -> TrialCounts:
        return self.progress.counts

    def refresh(self, *, with_trials: bool = True) -> None:
        """Read the study's requested state and the progress of all workers from the store.

        Args:
            with_trials: also the curves of other workers' trials.
        """
        if with_trials:
            self._next_sync = 0.0
        with self._store.read() as connection:
            self.read(connection, with_trials=with_trials)
        self.settle()

    def read(self, connection: Connection, *, with_trials: bool = True) -> None:
        """The reading half of `refresh`, within a transaction of the caller."""
        self._is_exhausted = False
        self._claimed = {}
        self.progress = progress_of(connection, self.study.study_id)
        if self.progress.created != self.study.created:  # the store has given its number to another study
            self.progress = Progress.of_deleted()
        if self.progress.is_deleted:
            return
        self._take_changes(self.progress.spec)
        self._history.is_sparing = self.is_in_large_fleet
        since = time.monotonic()
        syncs = with_trials and since >= self._next_sync
        complete = self.counts.complete
        if self._best.is_old(complete) and (syncs or not self.is_in_large_fleet):
            self._best.read(connection, self.study.study_id, self.resolved.spec, complete=complete)
        if syncs:  # a pruner compares with them
            self._history.sync(connection)
            self._begun = self._history.begun()
            self.epochs_trained = sum(trial.epochs for trial in self._begun)
            now = time.monotonic()
            self._next_sync = now + sync_pause(workers=self.workers, took=now - since)
        waiting_for, self._waiting_for = self._waiting_for, self.progress.waiting_for(self.study.name)
        if self._waiting_for not in (None, waiting_for):
            log.warning("study %s waits: %s", self.study.name, self._waiting_for)

    def so_far(self, *, slots: int) -> SearchSoFar | None:
        """Its trials so far, to forecast the rest; None where their number has no limit.

        Args:
            slots: trials that are trained at a time, by all workers.
        """
        if self.counts.target == UNLIMITED:
            return None
        spec, rungs = self.resolved.spec, self._history.rungs
        halving = rungs.halving(spec.max_epochs) if rungs is not None and rungs.promotes else None
        return SearchSoFar(
            self._begun,
            trials=self.counts.target,
            epochs=spec.max_epochs,
            slots=slots,
            halving=halving,
            unjudged=startup_trials(spec),
            shares=usual_shares(spec, least=FIRST_RUNG * spec.interval, eta=ETA),
            interval=spec.interval,
            paces=dict(self._paces),
        )

    def settle(self) -> None:
        """The writing half of `refresh`: end the idle trials of a study that is to end."""
        if self.progress.is_deleted:
            self.stop_reason = self.progress.reason
            return
        plan = self.study.plan
        if plan is not None and self.counts.waiting and self.counts.ended:
            direction = self.resolved.spec.objective.direction
            if beaten := end_beaten(self._store, self.study.study_id, plan, direction):
                log.info("%s out of the race: not begun", counted(len(beaten), "trial"))
        has_all = self.counts.ended >= self.counts.target
        self._say_why(self._early_end.when_not_worth_going_on(self.study, self.resolved.spec, self.progress))
        is_to_end = has_all or self.progress.limit is not None or self.progress.state.is_ending
        if is_to_end and self.counts.begun:
            with self._store.write() as connection:
                ended = end_idle_trials(connection, self.study.study_id, limit=self.progress.limit)
            forget_ended(self._context, self.study, ended)
        was_tidy, self._is_tidy = self._is_tidy, self.progress.is_over
        if self._is_tidy and not was_tidy:  # trials may have been ended by a person, or elsewhere
            forget_ended(self._context, self.study, ended_by_request(self._store, self.study.study_id))
        stopped = self.progress.reason if self.progress.state.is_ending else None
        self.stop_reason = stopped or self._obstacle or (_CHANGED if self.is_superseded else None)

    def _say_why(self, reason: str | None) -> None:
        if reason is not None:
            log.warning("study %s ends: %s", self.study.name, reason)

    def _take_changes(self, spec: str | None) -> None:
        """A study that is submitted again searches the same, but may have another budget, retries, or `keep`."""
        if spec is None or spec == self._known_spec:
            return
        self._known_spec = spec
        try:
            self.study = replace(self.study, resolved=self.resolved.renewed(spec))
        except ValueError as error:  # written by a newer release: this worker keeps the file that it knows
            log.warning("study %s was changed in a way that this version cannot read: %s", self.study.name, error)
        self._take_name(self.resolved.spec.study)

    def _take_name(self, name: str) -> None:
        """A study that was renamed has another folder."""
        if name == self.study.name:
            return
        log.info("study %s is called %s now", self.study.name, name)
        self.study = replace(self.study, name=name)
        folder = self._folder(self.study)
        folder.freed = self.freed
        self._context = replace(self._context, folder=folder)

    @property
    def freed(self) -> int:
        """Bytes of checkpoints that this worker has removed, since no trial needs them."""
        return self._context.folder.freed

    def _folder(self, study: StoredStudy) -> StudyFolder:
        path = self._artifacts / study_folder(study.name, study.created)
        return StudyFolder(path, study=study.name, store=str(self._store.url), transfers=self._transfers)

    @property
    def is_in_large_fleet(self) -> bool:
        """Claims of so many workers do not wait for each other."""
        return self.workers > LARGE_FLEET

    @property
    def is_over(self) -> bool:
        """The study is over, or this worker cannot train it."""
        return self.progress.is_over or self._obstacle is not None or self.is_superseded

    @property
    def is_superseded(self) -> bool:
        """The study was deleted, or goes on with other data or code than this worker's server has imported."""
        return self.progress.is_deleted or self.progress.change_accepted != self.study.change_accepted

    @property
    def waiting_for(self) -> str | None:
        """What keeps the study from going on, in words; None while it goes on, and when it is over."""
        obstacle = None if self.is_over else self._context.folder.obstacle
        return self.progress.waiting_for(self.study.name) or obstacle

    @property
    def is_hindered(self) -> bool:
        """This worker cannot train the study's trials."""
        return self._obstacle is not None

    @property
    def server(self) -> ForkServer:
        """Forks its trials."""
        return self._context.server

    @property
    def may_claim(self) -> bool:
        return not (
            self.is_over
            or self._is_exhausted
            or self.progress.state != StudyState.RUNNING
            or self.progress.limit
            or time.monotonic() < self.next_claim
        )

    def start_next(self, slot: Slot, others: Sequence[Slot] = ()) -> RunningTrial | None:
        """Claim a trial, sample its parameters, and start its processes; None when there is nothing to train.

        Args:
            others: slots for which this is called next; their trials are claimed at once.
        """
        claimed_at = time.monotonic()
        try:
            if not self._context.folder.is_ready():
                return None
            weights = find_weights(self._store, self.resolved)
            if changes := self._data.changes():
                advice = "put it back, or submit the study again with --accept-changes"
                raise SpecError(f"its data was changed ({in_a_line(changes)}): {advice}")
        except SpecError as error:
            log.warning("study %s cannot continue on this worker: %s", self.study.name, error)
            self._obstacle = self.stop_reason = str(error)
            return None
        except OSError as error:  # of the data, or of another study's checkpoint, that cannot be looked at now
            self._context.folder.refuse(error_in_words(error), obstacle="a file that its trials need cannot be read")
            return None
        try:
            claim = self._claimed.pop(slot.number, None)
            if claim is None:
                room, reason = self._early_end.room(self.study, 1 + len(others))
                self._say_why(reason)
                others = others[: room - 1]
                claim = self._claim([slot, *others], self._history.promotable()) or self._claim_last(slot)
        except StudyBusyError:
            # Jitter: those that found it busy together should not come back together.
            self.next_claim = time.monotonic() + self._busy_pause * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
            self._busy_pause = next_busy_pause(self._busy_pause, workers=self.workers)
            return None
        self._busy_pause = FIRST_BUSY_PAUSE
        if claim is None:
            self._is_exhausted = True
            return None
        self._take_name(claim.study)
        return start_trial(self._context, self.study, claim, slot=slot, weights=weights, claimed_at=claimed_at)

    def _claim(self, slots: Sequence[Slot], promotable: Sequence[int]) -> Claim | None:
        """The claim for the first of these slots; those for the others are kept until `start_next` is called for them.

        If the store cannot be reached before, the worker hands them back, see `hand_back_unknown`.
        """
        claims = claim_trials(
            self._store,
            self.study.study_id,
            worker_id=self._context.worker_id,
            places=[Place(slot.number, slot.device, slot.ranks, slot.share) for slot in slots],
            promotable=promotable,
            known=self.study,
            waits=not self.is_in_large_fleet,
        )
        self._claimed = {slot.number: claim for slot, claim in zip(slots[1:], claims[1:], strict=False)}
        return claims[0] if claims else None

    def _claim_last(self, slot: Slot) -> Claim | None:
        """When all trials have begun and none is running: promote the best of a rung, or prune the paused ones."""
        if self._history.rungs is None:
            return None
        newest = standstill(self._store, self.study.study_id)
        if newest is None:
            return None
        self._history.sync()
        if promotable := self._history.promotable(is_last=True):
            return self._claim([slot], promotable)
        ended = end_paused_trials(self._store, self.study.study_id, since=newest)
        if ended:
            log.info("%d trials paused at a rung are pruned: none of them can be promoted", len(ended))
        forget_ended(self._context, self.study, ended)
        self.refresh(with_trials=False)  # it is over
        return None

    def begin(self, trial: RunningTrial) -> bool:
        """Start the processes of a trial whose files are here now; false when it was handed back."""
        return begin_trial_processes(self._context, trial)

    def on_started(self, trial: RunningTrial, report: Started) -> None:
        """The trial's model is built."""
        take_start(self._context, self.resolved, trial, report)

    def on_probed(self, trial: RunningTrial, report: Probed) -> Answer:
        """Answer whether the trial may train, from what is known of it before."""
        return take_probe(self._context, self.resolved.spec, trial, report)

    def on_epoch(self, trial: RunningTrial, report: Epoch) -> Answer:
        """Record an epoch's metrics, and answer with the decision about the trial."""
        spec = self.resolved.spec
        target = self.progress.limits["target"] if self.progress.limits else spec.budget.limits["target"]
        trial.reported += 1
        if report.memory is not None:
            trial.memory = max(trial.memory or 0, report.memory)
        if trial.training > 1:
            return take_later_epoch(spec, trial, report)
        self._paces[trial.number] = trial.seconds / (trial.reported * spec.interval)
        return take_epoch(self._context, spec, trial, report, target=target)

    def on_trained(self, trial: RunningTrial) -> Answer:
        """Record what one of the trial's trainings has reached, and answer whether the next one follows."""
        return take_trained(self._context, self.resolved.spec, trial, best=self._best.results)

    def end(self, trial: RunningTrial) -> None:
        """Write the trial's end into the store, when its processes have ended."""
        # Without other workers' trials: every poll reads them, and most claims.
        end_trial(self._context, self.study, trial, then=partial(self.refresh, with_trials=False))
