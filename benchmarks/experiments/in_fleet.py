"""A part of a fleet: simulated workers, each a thread with a connection of its own. What `fleet` starts."""

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
from hpo.queue.leases import expire_leases
from hpo.queue.studies import load_study
from hpo.store import Store, Timing
from hpo.worker.poll import poll_store
from hpo.worker.running_trial import RunningTrial

OPENING_AT_ONCE = 16


class Part:
    """What the members of this process have counted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.claims: list[float] = []
        self.looks: list[float] = []
        self.errors: Counter[str] = Counter()
        self.finished = 0


def main(url: str, artifacts: Path, count: int, seconds: float, epoch_seconds: float, look_seconds: float) -> None:
    part = Part()
    with Store.open(url) as store:
        study = load_study(store, "simulated")
    with ThreadPoolExecutor(OPENING_AT_ONCE) as pool:
        workers = list(pool.map(lambda _: SimulatedWorker(Store.open(url), study, artifacts), range(count)))
    print("ready", flush=True)
    sys.stdin.readline()
    started, used = time.monotonic(), time.process_time()
    # A first trial's time is for finding a rhythm: not all workers begin at the same moment.
    first = started + EPOCHS * epoch_seconds
    members = [
        threading.Thread(target=live, args=(worker, part, epoch_seconds, look_seconds, started, first, first + seconds))
        for worker in workers
    ]
    for member in members:
        member.start()
    for member in members:
        member.join()
    told = {
        "claims": part.claims, "looks": part.looks, "errors": part.errors, "finished": part.finished,
        "processor": time.process_time() - used, "lived": time.monotonic() - started,
    }  # fmt: skip
    print(json.dumps(told), flush=True)


def live(
    worker: SimulatedWorker,
    part: Part,
    epoch_seconds: float,
    look_seconds: float,
    started: float,
    first: float,
    end: float,
) -> None:
    """A worker's life, what is due first at a time; counted is what happens from `first` on."""
    draw = random.Random(worker.worker_id)
    trial: RunningTrial | None = None
    epoch = 0
    next_epoch = started + draw.uniform(0, EPOCHS * epoch_seconds)
    next_beat = started + draw.uniform(0, Timing().heartbeat)
    next_look = started + draw.uniform(0, look_seconds)
    while (now := time.monotonic()) < end:
        due = min(next_epoch, next_beat, next_look, worker.outbox.due or end)
        if due > now:
            time.sleep(min(due, end) - now)
            continue
        is_counted = now >= first
        try:  # in a turn, all that is due, as a worker's loop does
            if now >= next_beat:
                next_beat = now + Timing().heartbeat
                worker.outbox.attempt(lambda held=trial: worker.beat(*[held] if held else []))  # type: ignore[misc]
            if now >= next_look:
                before = time.monotonic()
                pause = worker.outbox.attempt(lambda held=trial: look_around(worker, held))  # type: ignore[misc]
                next_look = now + max(look_seconds, pause or 0.0)
                if is_counted:
                    part.looks.append(time.monotonic() - before)
            if worker.outbox.due is not None and now >= worker.outbox.due:
                worker.outbox.flush()
            if now >= next_epoch and trial is None:
                before = time.monotonic()
                trial, epoch = worker.claim(), 0
                next_epoch = time.monotonic() + epoch_seconds
                if trial is not None:
                    worker.started(trial)
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
            part.errors["store away at the end"] += 1


def look_around(worker: SimulatedWorker, trial: RunningTrial | None) -> float:
    """What a worker does every second or so; seconds until the next time."""
    seen = poll_store(worker.store, [worker.run], [trial.claim.trial_id] if trial else [])
    if seen.has_lost and worker.outbox.knows_leases:
        expire_leases(worker.store)
    return seen.pause


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:7]))
