"""The worker: one event loop that owns this machine's slots, and trains trials of one or many studies on them.

It imports neither torch nor the user's models. Trial processes report over their channels; the loop writes what they
say into the store, answers, renews the leases, and claims the next trial as soon as a slot is free.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from hpo import queue, tally
from hpo.channel import ChannelClosedError, Message
from hpo.definition import Definition, resolve
from hpo.devices import Slot
from hpo.errors import HpoError, RunError, SpecError, StoreError
from hpo.outbox import Outbox
from hpo.processes import ForkedProcess, ForkServer, study_job
from hpo.runningtrial import RunningTrial
from hpo.sharing import Shares
from hpo.store import Store
from hpo.studies import StoredStudy, load, load_open
from hpo.studyfile import Source
from hpo.studyrun import StudyRun
from hpo.writes import shortened

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FRAME_SECONDS = 0.25
# A worker that is asked to end lets its trials finish their epoch, for this long; preemption grants about 30 s.
DRAIN_SECONDS = 20.0


class Worker:
    """This machine's worker.

    Args:
        server: has torch and Lightning, or is about to.
        on_frame: called a few times a second, to draw.

    Attributes:
        runs: the studies that it works on, by the store's id.
        trials: what it trains, by the slot's number.
        is_draining: it was asked to end: running trials are handed back after their epoch.
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
        self.runs: dict[int, StudyRun] = {}
        self.trials: dict[int, RunningTrial] = {}
        self.is_draining = False
        self._store = store
        self._servers = [server]
        self._project = project
        self._artifacts = artifacts
        self._on_frame = on_frame
        self._refused: set[int] = set()
        self._shares = Shares()
        self._has_looked = False  # for studies, since the server is ready
        self._selector = selectors.DefaultSelector()
        self._drained_at: float | None = None  # monotonic
        self.outbox = Outbox(store, on_return=self._beat)
        self._worker_id = queue.register_worker(store, host=platform.node(), pid=os.getpid(), slots=len(slots))

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
            outbox=self.outbox,
            server=server,
            project=self._project,
            artifacts=self._artifacts,
            worker_id=self._worker_id,
        )
        self.runs[study.study_id] = run
        if server not in self._servers:
            self._servers.append(server)
        return run

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
        self._run(lambda: self._adopt_open(names), is_service=not is_until_idle)

    def _run(self, look_for_studies: Callable[[], None], *, is_service: bool) -> None:
        self._look_for_studies = look_for_studies
        self._next_beat = self._next_poll = 0.0
        for server in self._servers:
            self._watch(server)
        with self._signals():
            try:
                while True:
                    self._visit_store()
                    self._judge_trials()
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
            self._next_beat = now + queue.BEAT_SECONDS
            self.outbox.attempt(self._beat)
        if now >= self._next_poll:
            self._next_poll = now + POLL_SECONDS
            self.outbox.attempt(self._look)
        if self.outbox.due is not None and now >= self.outbox.due:
            self.outbox.flush()

    def _beat(self) -> None:
        queue.beat(self._store, self._worker_id, [trial.claim.attempt_id for trial in self.trials.values()])

    def _look(self) -> None:
        """What is wished, how far everybody is, and which leases have run out."""
        if self.outbox.knows_leases:
            for number in queue.reap(self._store):
                log.warning("trial %d lost its worker", number)
        self._look_for_studies()
        for run in self.runs.values():
            run.refresh()
        wishes = tally.wishes(self._store, [trial.claim.trial_id for trial in self.trials.values()])
        for trial in self.trials.values():
            run = self.runs[trial.claim.study_id]
            self._take_wish(trial, wishes.get(trial.claim.trial_id), run.progress)

    def _next_event(self) -> float:
        moments = [self._next_beat, self._next_poll, time.monotonic() + FRAME_SECONDS]
        if self.outbox.due is not None:
            moments.append(self.outbox.due)
        return min(moments)

    def _close(self) -> None:
        for trial in list(self.trials.values()):
            self._abandon(trial)
        for server in reversed(self._servers):
            server.stop()
        if not self.outbox.flush():
            log.warning("the store is away: this worker's trials are taken up by others when their leases end")
        self.outbox.attempt(lambda: queue.leave(self._store, self._worker_id))
        self._selector.close()

    # ---- studies

    def _adopt_open(self, names: Sequence[str]) -> None:
        if self.is_draining or not self._servers[0].ready:
            return
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
        self._has_looked = True

    def _check_slots(self, study: StoredStudy) -> None:
        wanted, slot = study.definition.spec.resources, self.slots[0]
        if wanted.devices_per_trial != slot.ranks or wanted.accelerator not in ("auto", slot.accelerator):
            kind = "" if wanted.accelerator == "auto" else f" ({wanted.accelerator})"
            raise SpecError(
                f"study '{study.name}' trains a trial on {wanted.devices_per_trial} devices{kind}, and a slot of this "
                f"worker is {slot.device}: start a worker for it: hpo worker {study.name}"
            )

    def _take_on(self, study: StoredStudy) -> None:
        spec = study.definition.spec
        job = study_job(self._project, {"model": spec.model.label, "data": spec.data.label})
        server, classes = self._servers[0].serve_study(job)
        definition = resolve(spec, classes, Source.of_stored(study.name))
        self.adopt(study, server=server, definition=definition)
        self._watch(server)
        log.info("study %s: working on it, %d trials asked for", study.name, study.trials_target)

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
                    self.trials[slot.number] = trial
                    self._shares.begin(run.study.study_id, priority=run.progress.priority)
                    for process in trial.processes:
                        self._selector.register(process.channel, selectors.EVENT_READ)
                    break

    def _turn(self, run: StudyRun) -> tuple[float, float]:
        """Whose turn it is comes first; when workers begin together, the study that fewer of them train."""
        return self._shares.turn(run.study.study_id), run.progress.counts.running / run.progress.priority

    def _wait(self, seconds: float) -> None:
        self._selector.select(max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)  # unread, it would wake us without pause
        for server in self._servers:
            if not server.poll():
                raise RunError("the process that starts trials ended unexpectedly; running trials were handed back")
        for trial in list(self.trials.values()):
            self._serve(trial)

    def _watch(self, server: ForkServer) -> None:
        if server.control.fileno() not in self._selector.get_map():
            self._selector.register(server.control, selectors.EVENT_READ)

    # ---- trials

    def _serve(self, trial: RunningTrial) -> None:
        """Take in what the trial's processes have said, and end it when they have ended."""
        for process in trial.processes:
            messages, is_open = process.channel.receive_ready()
            for message in messages:
                self._on_message(trial, process, message)
            if not is_open and process.channel.fileno() in self._selector.get_map():
                self._selector.unregister(process.channel)  # at its end it would wake us without pause
            if process.status is not None and not trial.is_killed and process not in trial.done:
                trial.done.append(process)
                rank = f" (rank {trial.processes.index(process)})" if len(trial.processes) > 1 else ""
                error = f"the trial process ended without a word{rank}"
                trial.fail("crash", _cause_of_exit(process.status), error, is_silent=True)
        if trial.is_to_be_killed:
            trial.is_killed = True
            for process in trial.processes:
                process.kill()  # one rank alone would wait for the others for ever
        if all(process.status is not None for process in trial.processes):
            self._end(trial)

    def _on_message(self, trial: RunningTrial, process: ForkedProcess, message: Message) -> None:
        run = self.runs[trial.claim.study_id]
        if message["kind"] in ("done", "failed"):
            trial.done.append(process)
        if trial.is_ending:
            return
        trial.progress_at = time.monotonic()
        match message["kind"]:
            case "started":
                run.on_started(trial, message)
            case "training":
                trial.seconds_to_first_step = trial.seconds_to_first_step or trial.seconds
                log.debug("trial %d trains %.3f s after its claim", trial.number, trial.seconds_to_first_step)
            case "epoch":
                with contextlib.suppress(ChannelClosedError):
                    process.channel.send(run.on_epoch(trial, message))
            case "failed":
                kind = "oom" if message["cause"] == "out of memory" else "error"
                trial.fail(kind, shortened(message["cause"]) or kind, shortened(message["error"]) or "")
            case "warning":
                log.warning("trial %d: %s", trial.number, message["text"])

    def _end(self, trial: RunningTrial) -> None:
        del self.trials[trial.slot.number]
        for process in trial.processes:
            if process.channel.fileno() in self._selector.get_map():
                self._selector.unregister(process.channel)
            process.channel.close()
        run = self.runs[trial.claim.study_id]
        self._shares.end(run.study.study_id, priority=run.progress.priority, seconds=trial.seconds)
        run.end(trial)

    def _abandon(self, trial: RunningTrial) -> None:
        for process in trial.processes:
            process.kill()
        trial.hand_back("preempted")
        self._end(trial)

    def _take_wish(self, trial: RunningTrial, own: str | None, progress: tally.Progress) -> None:
        """What the study, the trial's own wish and this worker's end mean for a running trial."""
        if own == "kill" or progress.state == "killed":
            trial.fail("killed", "killed: by request", "killed by request")
        elif own == "stop" or progress.state == "stopped":
            trial.wish, trial.wish_cause = "stop", f"stopped: {(progress.reason or 'by request').splitlines()[0]}"
        elif progress.limit is not None:
            trial.wish, trial.wish_cause = "stop", f"stopped: {progress.limit}"
        elif self.is_draining:
            trial.wish, trial.wish_cause = "pause", "preempted"
        elif own == "pause" or progress.state == "paused":
            trial.wish, trial.wish_cause = "pause", "paused"
        else:
            trial.wish = trial.wish_cause = None

    def _judge_trials(self) -> None:
        """End trials that take too long, that no longer move, or that cannot wait for their epoch's end."""
        now = time.monotonic()
        for trial in self.trials.values():
            budget = self.runs[trial.claim.study_id].definition.spec.budget
            if trial.is_ending:
                continue
            if self._drained_at is not None:
                trial.wish, trial.wish_cause = "pause", "preempted"
                if now > self._drained_at + DRAIN_SECONDS:
                    trial.hand_back("preempted")
            minutes = (trial.claim.seconds_before + trial.seconds) / 60
            if budget.trial_minutes is not None and minutes > budget.trial_minutes:
                trial.end_with_what_it_has("overtime", f"over time: {budget.trial_minutes:g} minutes")
            # A set-up may hang as well, at a file system that is gone.
            if now > (trial.progress_at or trial.claimed_at) + 60 * budget.stall_minutes:
                trial.fail("stalled", "stalled", f"no step for {budget.stall_minutes:g} minutes")

    # ---- signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C drain, the second Ctrl-C ends at once; both wake the loop."""
        wake_read, wake_write = socket.socketpair()
        self._wake = wake_read
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        self._selector.register(wake_read, selectors.EVENT_READ)
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        wakeup = signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in previous.items():
                signal.signal(number, handler)
            wake_read.close()
            wake_write.close()

    def _on_signal(self, number: int, _: object) -> None:
        if self.is_draining and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_draining = True
        self._drained_at = self._drained_at or time.monotonic()
        log.warning(
            "%s: handing back %d running trials after their epoch%s",
            signal.Signals(number).name,
            len(self.trials),
            "; Ctrl-C again ends them at once" if number == signal.SIGINT else "",
        )


def _cause_of_exit(status: int) -> str:
    if status < 0:
        named = {member.value: member.name for member in signal.Signals}
        return f"killed: {named.get(-status, f'signal {-status}')}"
    return f"exited: code {status}"
