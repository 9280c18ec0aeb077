"""The worker: one event loop that owns this machine's slots, and trains trials of one or many studies on them.

It imports neither torch nor the user's models. Trial processes report over their channels; the loop writes what they
say into the store, answers, renews the leases, and claims the next trial as soon as a slot is free.
"""

from __future__ import annotations

import logging
import os
import platform
import selectors
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hpo.errors import RunError
from hpo.ipc.channel import Channel
from hpo.ipc.fork_server import ForkServer
from hpo.queue.leases import deregister_worker, expire_leases, heartbeat, register_worker
from hpo.queue.studies import StoredStudy
from hpo.store import Store
from hpo.study.devices import Slot
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import AttemptEnd
from hpo.worker.assignments import StudyAssignments
from hpo.worker.fair_share import FairShare
from hpo.worker.inbox import take_messages
from hpo.worker.outbox import Outbox
from hpo.worker.poll import poll_store
from hpo.worker.running_trial import RunningTrial
from hpo.worker.signals import Signals
from hpo.worker.study_run import StudyRun
from hpo.worker.supervise import supervise, take_request

log = logging.getLogger(__name__)

FRAME_SECONDS = 0.25


class Worker:
    """This machine's worker.

    Args:
        server: has torch and Lightning, or is about to.
        on_frame: called a few times a second, to draw.

    Attributes:
        trials: what it trains, by the slot's number.
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
    ) -> None:
        self.slots = slots
        self.trials: dict[int, RunningTrial] = {}
        self._store = store
        self._on_frame = on_frame
        self._shares = FairShare()
        self._has_looked = False  # for studies, since the server is ready
        self._selector = selectors.DefaultSelector()
        self._signals = Signals(lambda: len(self.trials))
        self.outbox = Outbox(store, on_return=self._beat)
        self._worker_id = register_worker(store, host=platform.node(), pid=os.getpid(), slots=len(slots))
        self._studies = StudyAssignments(
            store,
            outbox=self.outbox,
            server=server,
            slot=slots[0],
            project=project,
            artifacts=artifacts,
            worker_id=self._worker_id,
        )

    @property
    def runs(self) -> dict[int, StudyRun]:
        """The studies that it works on, by the store's id."""
        return self._studies.runs

    @property
    def is_draining(self) -> bool:
        """It was asked to end: running trials are handed back after their epoch."""
        return self._signals.drained_at is not None

    def adopt(self, study: StoredStudy, *, server: ForkServer, definition: ResolvedStudy) -> StudyRun:
        """Work on a study: see `Adoption.adopt`."""
        return self._studies.adopt(study, server=server, definition=definition)

    def run_until_done(self) -> None:
        """Train until the adopted studies have all that they asked for, are stopped, or the user interrupts.

        Raises:
            RunError: the process that starts trials died.
        """
        self._has_looked = True
        self._run(lambda: None, is_service=False)

    def run_service(self, names: Sequence[str], *, is_until_idle: bool = False) -> None:
        """Train what the named studies need, or whatever study is open; wait for more, unless `is_until_idle`.

        Raises:
            RunError: the process that starts trials died.
            StoreError: a named study does not exist.
        """
        self._run(lambda: self._adopt(names), is_service=not is_until_idle)

    def _run(self, look_for_studies: Callable[[], None], *, is_service: bool) -> None:
        self._look_for_studies = look_for_studies
        self._next_beat = self._next_poll = 0.0
        for server in self._studies.servers:
            self._watch(server.control)
        with self._signals.taken(self._selector):
            try:
                while True:
                    self._visit_store()
                    if len(self.trials) < len(self.slots):
                        self._wait(0.0)  # whoever asks how to go on should not have to wait for the next proposal
                    for trial in self.trials.values():
                        budget = self.runs[trial.claim.study_id].definition.spec.budget
                        supervise(
                            trial, budget, drained_at=self._signals.drained_at, drain_seconds=self._store.timing.drain
                        )
                    self._fill_slots()
                    is_over = self._has_looked and all(run.is_over for run in self.runs.values()) and not is_service
                    if not self.trials and self.outbox.is_empty and (self.is_draining or is_over):
                        self._on_frame()  # the last one shows the end
                        return
                    self._wait(self._next_event() - time.monotonic())
                    self._on_frame()
            finally:
                self._close()

    def _visit_store(self) -> None:
        """Beat, look, and write what waits, each in its time."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + self._store.timing.heartbeat
            self.outbox.attempt(self._beat)
        if now >= self._next_poll:
            pause = self.outbox.attempt(self._look)
            self._next_poll = now + (self._store.timing.poll if pause is None else pause)
        if self.outbox.due is not None and now >= self.outbox.due:
            self.outbox.flush()

    def _beat(self) -> None:
        heartbeat(self._store, self._worker_id, [trial.claim.attempt_id for trial in self.trials.values()])

    def _look(self) -> float:
        """What is wished, how far everybody is, and which leases have run out; seconds until the next look."""
        self._look_for_studies()
        seen = poll_store(self._store, self.runs.values(), [trial.claim.trial_id for trial in self.trials.values()])
        if seen.has_lost and self.outbox.knows_leases:
            for number in expire_leases(self._store):
                log.warning("trial %d lost its worker", number)
        for trial in self.trials.values():
            run = self.runs[trial.claim.study_id]
            take_request(trial, seen.requests.get(trial.claim.trial_id), run.progress, is_draining=self.is_draining)
        return seen.pause

    def _adopt(self, names: Sequence[str]) -> None:
        """Work on the named studies, or on whatever is open."""
        if self.is_draining:
            return
        if names:  # they are few, and whoever names them wants them watched
            self._leave_what_is_over(only_deleted=True)
            self._has_looked |= self._studies.look_for(names)
        else:
            self._leave_what_is_over()
            self._has_looked |= self._studies.look()
        for server in self._studies.servers:
            self._watch(server.control)

    def _leave_what_is_over(self, *, only_deleted: bool = False) -> None:
        before = set(self.runs)
        busy = {trial.claim.study_id for trial in self.trials.values()}
        for server in self._studies.give_up(busy, only_deleted=only_deleted):
            self._ignore(server.control)
            server.stop()
        for study_id in before - set(self.runs):
            self._shares.forget(study_id)

    def _next_event(self) -> float:
        moments = [self._next_beat, self._next_poll, time.monotonic() + FRAME_SECONDS]
        if self.outbox.due is not None:
            moments.append(self.outbox.due)
        return min(moments)

    def _close(self) -> None:
        for trial in list(self.trials.values()):
            self._abandon(trial)
        for server in reversed(self._studies.servers):
            server.stop()
        if not self.outbox.flush():
            log.warning("the store is away: this worker's trials are taken up by others when their leases end")
        self.outbox.attempt(lambda: deregister_worker(self._store, self._worker_id))
        self._selector.close()

    # ---- slots

    def _fill_slots(self) -> None:
        if self.is_draining:
            return
        for slot in self.slots:
            if not self.outbox.is_up or slot.number in self.trials:
                continue
            for run in sorted(self.runs.values(), key=self._turn):
                if not run.may_claim:
                    continue
                trial = self.outbox.attempt(partial(run.start_next, slot))
                if trial is not None:
                    if slot.accelerator != "cpu":
                        self._dismiss_others(run)
                    self.trials[slot.number] = trial
                    self._shares.begin(run.study.study_id, priority=run.progress.priority)
                    for process in trial.processes:
                        self._watch(process.channel)
                    break

    def _dismiss_others(self, run: StudyRun) -> None:
        """Other studies' processes that wait for a job would keep memory of a GPU that this one's trials may need."""
        for server in self._studies.servers:
            if server is not run.server:
                server.dismiss()

    def _turn(self, run: StudyRun) -> tuple[float, float]:
        """Whose turn it is comes first; when workers begin together, the study that fewer of them train."""
        running = run.progress.counts.running
        return self._shares.turn(run.study.study_id), running / run.progress.priority

    def _wait(self, seconds: float) -> None:
        self._selector.select(max(0.0, seconds))
        self._signals.rest()
        for server in self._studies.servers:
            if not server.poll():
                raise RunError("the process that starts trials ended unexpectedly; running trials were handed back")
        for trial in list(self.trials.values()):
            self._serve(trial)

    def _watch(self, channel: Channel) -> None:
        if channel.fileno() not in self._selector.get_map():
            self._selector.register(channel, selectors.EVENT_READ)

    def _ignore(self, channel: Channel) -> None:
        if channel.fileno() in self._selector.get_map():
            self._selector.unregister(channel)

    # ---- trials

    def _serve(self, trial: RunningTrial) -> None:
        """Take in what the trial's processes have said, and end it when they have ended."""
        for channel in take_messages(trial, self.runs[trial.claim.study_id]):
            self._ignore(channel)  # at its end it would wake us without pause
        if all(process.status is not None for process in trial.processes):
            self._end(trial)

    def _end(self, trial: RunningTrial) -> None:
        del self.trials[trial.slot.number]
        for process in trial.processes:
            self._ignore(process.channel)
            if not process.is_released:
                process.channel.close()
        run = self.runs[trial.claim.study_id]
        self._shares.end(run.study.study_id, priority=run.progress.priority, seconds=trial.seconds)
        run.end(trial)

    def _abandon(self, trial: RunningTrial) -> None:
        for process in trial.processes:
            process.kill()
        trial.hand_back(AttemptEnd.PREEMPTED)
        self._end(trial)
