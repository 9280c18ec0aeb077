"""The worker: one event loop that owns this machine's slots, and trains trials of one or many studies on them.

It imports neither torch nor the user's models. Trial processes report over their channels; the loop writes the reports
to the store, answers them, renews the leases, and claims the next trial as soon as a slot is free.
"""

from __future__ import annotations

import logging
import os
import platform
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from hpo.errors import RunError, StoreError, StoreReplacedError
from hpo.ipc.channel import Channel
from hpo.ipc.fork_server import ForkServer
from hpo.queue.leases import deregister_worker, expire_leases, hand_back_unknown, heartbeat, register_worker
from hpo.queue.studies import StoredStudy
from hpo.store import Store
from hpo.store.identity import StoreFile
from hpo.study.devices import Slot
from hpo.study.gpu_locks import GpuLocks
from hpo.study.object_store import object_store_of
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import AttemptEnd
from hpo.worker.assignments import StudyAssignments
from hpo.worker.fair_share import FairShare
from hpo.worker.gpu_memory import make_room
from hpo.worker.inbox import take_messages
from hpo.worker.notices import Notices
from hpo.worker.outbox import Outbox
from hpo.worker.packing import Packing
from hpo.worker.poll import poll_store
from hpo.worker.provenance import StudyProvenance
from hpo.worker.running_trial import RunningTrial
from hpo.worker.signals import Signals
from hpo.worker.study_run import StudyRun
from hpo.worker.supervise import supervise, take_request
from hpo.worker.transfers import Transfers
from hpo.worker.trial_end import unneeded

log = logging.getLogger(__name__)

FRAME_SECONDS = 0.25
# A server that exits more often than this is not started again.
MOST_RESTARTS, SECONDS_OF_RESTARTS = 3, 300.0


class Worker:
    """This machine's worker.

    Args:
        server: has imported torch and Lightning, or is importing them.
        on_frame: called a few times a second, to draw.
        drain_seconds: how long trials may finish their epoch when it is asked to end; by default the store's timing.
        max_seconds: within which it ends, with all trials handed back; None for no limit.

    Attributes:
        trials: the running ones, by the slot's number.
    """

    def __init__(
        self,
        store: Store,
        *,
        server: ForkServer,
        slots: Sequence[Slot],
        project: Path,
        artifacts: Path,
        on_frame: Callable[[], None] = lambda: None,
        drain_seconds: float | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self.slots = slots
        self.trials: dict[int, RunningTrial] = {}
        self._store = store
        self._on_frame = on_frame
        self._fair_share = FairShare()
        self._restarts: list[float] = []  # monotonic seconds
        self._has_adopted = False  # searched the store for studies, after the server was ready
        self._selector = selectors.DefaultSelector()
        self._drain_seconds = store.timing.drain if drain_seconds is None else drain_seconds
        drain_at = None if max_seconds is None else time.monotonic() + max_seconds - self._drain_seconds
        self._signals = Signals(lambda: len(self.trials), drain_at=drain_at)
        self.outbox = Outbox(store, on_return=self._heartbeat)
        self._file = StoreFile(store)
        self._transfers = Transfers(object_store_of(artifacts))
        self._locks = GpuLocks()
        self._hold_gpus()
        self._packing = Packing(slots)
        self._worker_id = register_worker(store, host=platform.node(), pid=os.getpid(), slots=len(slots))
        self._beat: float | None = None  # what the last heartbeat returned
        self._notices = Notices(store, project)
        self._studies = StudyAssignments(
            store,
            outbox=self.outbox,
            server=server,
            slot=slots[0],
            project=project,
            artifacts=artifacts,
            worker_id=self._worker_id,
            transfers=self._transfers,
            on_over=self._notices.look_at_ended,
        )

    def _hold_gpus(self) -> None:
        for uuids, device in {slot.uuids: slot.device for slot in self.slots}.items():  # several slots may share one
            try:
                self._locks.hold(uuids)
            except RunError as error:
                self._locks.release()
                raise RunError(f"{device} is used by {error}: give this worker other GPUs, or wait") from None

    @property
    def runs(self) -> dict[int, StudyRun]:
        """The studies that it works on, by the store's id."""
        return self._studies.runs

    @property
    def is_draining(self) -> bool:
        """The worker was asked to end: running trials are handed back after their epoch."""
        return self._signals.drained_at is not None

    @property
    def is_ready(self) -> bool:
        """It has looked for studies, reaches the store, and was not asked to end."""
        return self._has_adopted and self.outbox.is_up and not self.is_draining

    def adopt(
        self,
        study: StoredStudy,
        *,
        server: ForkServer,
        resolved: ResolvedStudy,
        paths: Mapping[str, Path],
        provenance: StudyProvenance,
    ) -> StudyRun:
        """Work on a study: see `StudyAssignments.adopt`."""
        return self._studies.adopt(study, server=server, resolved=resolved, paths=paths, provenance=provenance)

    def run_until_done(self) -> None:
        """Train until the adopted studies are over, or only have trials left that a person has paused.

        Raises:
            RunError: the process that starts trials exits again and again.
            StoreReplacedError: the store was deleted, replaced or restored meanwhile.
        """
        self._has_adopted = True
        self._run(lambda: None, is_service=False)

    def run_service(self, names: Sequence[str], *, is_until_idle: bool = False) -> None:
        """Train the named studies, or all open ones; wait for new work, unless `is_until_idle`.

        Raises:
            RunError: the process that starts trials exits again and again.
            StoreReplacedError: the store was deleted, replaced or restored meanwhile.
            StoreError: a named study does not exist.
        """
        self._run(lambda: self._adopt(names), is_service=not is_until_idle)

    def _run(self, adopt_studies: Callable[[], None], *, is_service: bool) -> None:
        self._adopt_studies = adopt_studies
        self._next_heartbeat = self._next_poll = 0.0
        for server in self._studies.servers:
            self._watch(server.control)
        with self._signals.handled(self._selector):
            try:
                while True:
                    self._visit_store()
                    if len(self.trials) < len(self.slots):
                        self._wait(0.0)  # running trials get their answers before a new one is sampled
                    self._transfers.upload_some(trial.directory for trial in self._training())
                    for trial in self._training():
                        run = self.runs[trial.claim.study_id]
                        supervise(
                            trial,
                            run.resolved.spec.budget,
                            drained_at=self._signals.drained_at,
                            drain_seconds=self._drain_seconds,
                            is_rerun=run.study.plan is not None and run.study.plan.kind == "rerun",
                        )
                    self._fill_slots()
                    is_done = all(run.is_over or run.progress.is_held for run in self.runs.values())
                    is_over = self._has_adopted and is_done and not is_service
                    if not self.trials and self.outbox.is_empty and (self.is_draining or is_over):
                        self.outbox.attempt(self._heartbeat)
                        self.outbox.attempt(self._look_for_news)
                        self._on_frame()  # the last one shows the end
                        break
                    self._wait(self._next_event() - time.monotonic())
                    self._on_frame()
            except StoreReplacedError as error:
                self._close(is_registered=False)
                raise StoreReplacedError(f"{error}: {self._rescue()}") from error
            except BaseException:
                self._close()
                raise
            self._close()
            self._notices.finish(is_draining=self.is_draining)

    def _rescue(self) -> str:
        """Save what a deleted store had; what was done, and what to do next."""
        copy = self._file.rescue()
        if copy is None:
            return "the worker has ended. Checkpoints are where they were; put the right store back, and run it again"
        return f"what it had is in {copy}. Move it to {self._store.url.path}, and run the study again"

    def _visit_store(self) -> None:
        """Send heartbeats, poll, and flush the outbox, each when it is due."""
        self._signals.check_time()
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._store.timing.heartbeat
            self.outbox.attempt(self._heartbeat)
        if now >= self._next_poll:
            pause = self.outbox.attempt(self._poll)
            self._next_poll = now + (self._store.timing.poll if pause is None else pause)
        if self.outbox.due is not None and now >= self.outbox.due:
            self.outbox.flush()

    def _heartbeat(self) -> None:
        """Renew the leases.

        Raises:
            StoreReplacedError: the store is not the one that this worker registered in.
        """
        self._file.check()
        attempts = [trial.claim.attempt_id for trial in self.trials.values()]
        self._beat = heartbeat(self._store, self._worker_id, attempts, last=self._beat)

    def _poll(self) -> float:
        """Read new studies, requests, progress and expired leases from the store; seconds until the next poll."""
        self._look_for_news()  # before a study that is over is dropped
        self._adopt_studies()
        poll = poll_store(self._store, self.runs.values(), [trial.claim.trial_id for trial in self.trials.values()])
        self._notices.take_poll(poll.store_targets, due=poll.due)
        if poll.has_lost:
            is_certain = self.outbox.knows_leases
            for number in expire_leases(self._store, is_certain=is_certain, answer_seconds=poll.took):
                log.warning("trial %d lost its worker: its lease has run out", number)
        if self.outbox.may_have_missed_an_answer and self.outbox.is_empty:
            known = [trial.claim.attempt_id for trial in self.trials.values()]
            for number in hand_back_unknown(self._store, self._worker_id, known):
                log.info("trial %d handed back: the answer to its claim was lost", number)
        for trial in self._training():
            run = self.runs[trial.claim.study_id]
            take_request(trial, poll.requests.get(trial.claim.trial_id), run.progress, is_draining=self.is_draining)
        return poll.pause

    def _look_for_news(self) -> None:
        self._notices.look(self.runs.values())

    def _adopt(self, names: Sequence[str]) -> None:
        """Work on the named studies, or on all open ones."""
        if self.is_draining:
            return
        if names:  # these are few, and stay adopted when they are over: they may be extended
            self._drop_finished(only_superseded=True)
            self._has_adopted |= self._studies.adopt_named(names)
        else:
            self._drop_finished()
            self._has_adopted |= self._studies.adopt_open()
        for server in self._studies.servers:
            self._watch(server.control)

    def _drop_finished(self, *, only_superseded: bool = False) -> None:
        before = set(self.runs)
        busy = {trial.claim.study_id for trial in self.trials.values()}
        for server in self._studies.drop_finished(busy, only_superseded=only_superseded):
            self._ignore(server.control)
            server.stop()
        for study_id in before - set(self.runs):
            self._fair_share.forget(study_id)

    def _next_event(self) -> float:
        moments = [self._next_heartbeat, self._next_poll, time.monotonic() + FRAME_SECONDS]
        if self.outbox.due is not None:
            moments.append(self.outbox.due)
        return min(moments)

    def _close(self, *, is_registered: bool = True) -> None:
        try:
            ended = [trial for trial in self.trials.values() if trial.has_ended]
            for trial in self.trials.values():
                for process in trial.processes:
                    process.kill()
            self._transfers.close()
            for trial in list(self.trials.values()):
                if trial not in ended:
                    trial.hand_back(AttemptEnd.PREEMPTED)
                self._end(trial)
            for server in reversed(self._studies.servers):
                server.stop()
            if not self.outbox.flush():
                log.warning(
                    "the store is unreachable: other workers resume this worker's trials when their leases run out"
                )
            if is_registered:
                self.outbox.attempt(lambda: deregister_worker(self._store, self._worker_id))
        except StoreError as error:  # there may be an error already, which tells more
            log.warning("the last reports are not written: %s", error)
        self._selector.close()
        self._locks.release()

    # ---- slots

    def _fill_slots(self) -> None:
        if self.is_draining:
            return
        free = self._packing.open(slot for slot in self.slots if slot.number not in self.trials)
        for place, slot in enumerate(free):
            if not self.outbox.is_up:
                break
            is_shared = sum(run.may_claim for run in self.runs.values()) > 1  # each slot has its study's turn
            for run in sorted(self.runs.values(), key=self._turn):
                if not run.may_claim:
                    continue
                others = () if is_shared else free[place + 1 :]
                trial = self.outbox.attempt(partial(run.start_next, slot, others))
                if trial is not None:
                    make_room((server for server in self._studies.servers if server is not run.server), slot.devices)
                    self.trials[slot.number] = trial
                    self._packing.begin(trial)
                    self._fair_share.begin(run.study.study_id, priority=run.progress.priority)
                    for process in trial.processes:
                        self._watch(process.channel)
                    break

    def _turn(self, run: StudyRun) -> tuple[float, float]:
        """The sort key: the study's turn, then (when workers start together) how much of it is running elsewhere."""
        running = run.progress.counts.running
        return self._fair_share.turn(run.study.study_id), running / run.progress.priority

    def _wait(self, seconds: float) -> None:
        self._selector.select(max(0.0, seconds))
        self._signals.clear_wakeups()
        ended = [server for server in self._studies.servers if not server.poll()]
        for trial in list(self.trials.values()):
            self._serve(trial)
        for server in ended:
            self._restart(server)

    def _restart(self, server: ForkServer) -> None:
        """Start a server again that has exited, as by the system when memory ran out; its trials are handed back.

        Raises:
            RunError: it exits again and again.
        """
        self._ignore(server.control)
        server.control.close()
        now = time.monotonic()
        self._restarts = [moment for moment in self._restarts if now - moment < SECONDS_OF_RESTARTS]
        if len(self._restarts) == MOST_RESTARTS:
            raise RunError(
                f"the process that starts trials exited {MOST_RESTARTS + 1} times within {SECONDS_OF_RESTARTS:g} s; "
                "running trials were handed back. Is there enough memory?"
            )
        self._restarts.append(now)
        log.warning("the process that starts trials exited: another is started, its trials were handed back")
        self.outbox.attempt(self._heartbeat)  # its imports take a while
        server.start_again()
        self._watch(server.control)

    def _watch(self, channel: Channel) -> None:
        if channel.fileno() not in self._selector.get_map():
            self._selector.register(channel, selectors.EVENT_READ)

    def _ignore(self, channel: Channel) -> None:
        if channel.fileno() in self._selector.get_map():
            self._selector.unregister(channel)

    # ---- trials

    def _serve(self, trial: RunningTrial) -> None:
        """Handle the messages of the trial's processes; end the trial when they have ended, and its files are sent."""
        run = self.runs[trial.claim.study_id]
        if not trial.processes:
            if self.is_draining:
                trial.hand_back(AttemptEnd.PREEMPTED)
                self._end(trial)
            elif self._transfers.is_ready(trial.directory):
                self._begin(trial, run)
            return
        if not trial.is_read:
            progress_at = trial.progress_at
            for channel in take_messages(trial, run):
                self._ignore(channel)  # a closed one would wake the selector without pause
            if trial.progress_at != progress_at:
                self._packing.take_report(trial)
            trial.is_read = trial.has_ended
            if trial.is_read:  # a released process may have another trial's messages from now on
                for process in trial.processes:
                    self._ignore(process.channel)
        if trial.is_read and (
            trial.is_dropped or self._transfers.is_sent(trial.directory, without=unneeded(trial, run.resolved.spec))
        ):
            self._end(trial)

    def _training(self) -> list[RunningTrial]:
        """The trials whose processes run; the others wait for their files, or for these to be sent."""
        return [trial for trial in self.trials.values() if trial.processes and not trial.has_ended]

    def _begin(self, trial: RunningTrial, run: StudyRun) -> None:
        if run.begin(trial):
            for process in trial.processes:
                self._watch(process.channel)
        else:
            del self.trials[trial.slot.number]
            self._packing.end(trial)
            self._fair_share.end(run.study.study_id, priority=run.progress.priority, seconds=trial.seconds)

    def _end(self, trial: RunningTrial) -> None:
        del self.trials[trial.slot.number]
        self._packing.end(trial)
        self._transfers.forget(trial.directory)
        for process in trial.processes:
            if not process.is_released:
                self._ignore(process.channel)
                process.channel.close()
        run = self.runs[trial.claim.study_id]
        self._fair_share.end(run.study.study_id, priority=run.progress.priority, seconds=trial.seconds)
        run.end(trial)
