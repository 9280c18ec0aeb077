"""A part of a fleet: simulated workers, each a thread with its own connection. Started by `fleet`."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sqlalchemy.exc import SQLAlchemyError

from experiments.simulated import EPOCHS, SimulatedWorker
from hpo.errors import StoreError
from hpo.queue.leases import expire_leases, hand_back_unknown
from hpo.queue.studies import load_study
from hpo.store import Store
from hpo.worker.loop import FRAME_SECONDS
from hpo.worker.poll import poll_store
from hpo.worker.running_trial import RunningTrial

OPENING_AT_ONCE = 16


class Part:
    """The counts of this process's members."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.claims: list[float] = []
        self.polls: list[float] = []
        self.errors: Counter[str] = Counter()
        self.finished = 0


def main(url: str, artifacts: Path, count: int, seconds: float, epoch_seconds: float, poll_seconds: float) -> None:
    # Each thread that waits for the interpreter's lock wakes that often: fifty, of which real workers are none.
    sys.setswitchinterval(0.05)
    part = Part()
    with Store.open(url) as store:
        study = load_study(store, "simulated")
    with ThreadPoolExecutor(OPENING_AT_ONCE) as pool:
        workers = list(pool.map(lambda _: SimulatedWorker(Store.open(url), study, artifacts), range(count)))
    for worker in workers:
        warm_up(worker)
    print("ready", flush=True)
    sys.stdin.readline()
    started, used = time.monotonic(), time.process_time()
    # The time of a first trial is not measured: workers start at different moments.
    first = started + EPOCHS * epoch_seconds
    members = [
        threading.Thread(target=live, args=(worker, part, epoch_seconds, poll_seconds, started, first, first + seconds))
        for worker in workers
    ]
    for member in members:
        member.start()
    for member in members:
        member.join()
    counts = {
        "claims": part.claims, "polls": part.polls, "errors": part.errors, "finished": part.finished,
        "processor": time.process_time() - used, "lived": time.monotonic() - started,
    }  # fmt: skip
    print(json.dumps(counts), flush=True)


def warm_up(worker: SimulatedWorker) -> None:
    """Train a trial in no time: each worker compiles its statements once, which here share a process."""
    worker.outbox.attempt(worker.heartbeat)
    worker.outbox.attempt(lambda: poll(worker, None))
    while (trial := worker.claim()) is None:
        time.sleep(FRAME_SECONDS)
    worker.started(trial)
    worker.outbox.attempt(lambda: worker.heartbeat(trial))
    for epoch in range(1, EPOCHS + 1):
        if worker.epoch(trial, epoch):
            break
    worker.end(trial)
    worker.outbox.flush()
    worker.outbox.attempt(lambda: poll(worker, trial))


def live(
    worker: SimulatedWorker,
    part: Part,
    epoch_seconds: float,
    poll_seconds: float,
    started: float,
    first: float,
    end: float,
) -> None:
    """Run a worker: always the action that is due first; actions are counted from `first` on."""
    draw = random.Random(worker.worker_id)
    trial: RunningTrial | None = None
    epoch = 0
    next_epoch = started + draw.uniform(0, EPOCHS * epoch_seconds)
    next_heartbeat = started + draw.uniform(0, worker.store.timing.heartbeat)
    next_poll = started + draw.uniform(0, poll_seconds)
    while (now := time.monotonic()) < end:
        due = min(next_epoch, next_heartbeat, next_poll, worker.outbox.due or end)
        if due > now:
            time.sleep(min(due, end) - now)
            continue
        is_counted = now >= first
        try:  # in each turn, all actions that are due, as in a worker's loop
            if now >= next_heartbeat:
                next_heartbeat = now + worker.store.timing.heartbeat
                worker.outbox.attempt(lambda own=trial: worker.heartbeat(*[own] if own else []))  # type: ignore[misc]
            if now >= next_poll:
                before = time.monotonic()
                pause = worker.outbox.attempt(lambda own=trial: poll(worker, own))  # type: ignore[misc]
                next_poll = now + max(poll_seconds, pause or 0.0)
                if is_counted:
                    part.polls.append(time.monotonic() - before)
            if worker.outbox.due is not None and now >= worker.outbox.due:
                worker.outbox.flush()
            if now >= next_epoch and trial is None:
                before = time.monotonic()
                trial, epoch = worker.claim(), 0
                next_epoch = time.monotonic() + epoch_seconds
                if trial is not None:
                    worker.started(trial)
                else:  # as soon as a worker's loop would try again
                    next_epoch = max(time.monotonic() + FRAME_SECONDS, worker.run.next_claim)
                if is_counted:
                    part.claims.append(time.monotonic() - before)
            elif now >= next_epoch and trial is not None:
                epoch += 1
                next_epoch += epoch_seconds
                if trial.is_dropped or worker.epoch(trial, epoch):
                    worker.end(trial)
                    with part.lock:
                        part.finished += is_counted and not trial.is_dropped
                    trial, next_epoch = None, now  # the next one at once
        except (SQLAlchemyError, StoreError) as error:
            with part.lock:
                part.errors[type(error).__name__] += 1
    if not worker.outbox.is_up:
        with part.lock:
            part.errors["store unreachable at the end"] += 1


def poll(worker: SimulatedWorker, trial: RunningTrial | None) -> float:
    """A worker's poll of the store; seconds until the next one."""
    seen = poll_store(worker.store, [worker.run], [trial.claim.trial_id] if trial else [])
    if seen.has_lost:
        expire_leases(worker.store, is_certain=worker.outbox.knows_leases, answer_seconds=seen.took)
    if worker.outbox.may_have_missed_an_answer and worker.outbox.is_empty:
        hand_back_unknown(worker.store, worker.worker_id, [trial.claim.attempt_id] if trial else [])
    return seen.pause


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:7]))
