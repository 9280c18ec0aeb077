"""Trials that move between two workers with folders of their own, by drains and kills, through an object store.

The diary of the trials shows which epochs were begun twice. Of a kill, these may be the epochs since the last upload.
The cost of uploads is that of a model of 10 MB, in a trial with an object store against one with a folder: the
processor time of the worker, which takes it from a trial on the same core, and the time from the end of training to
that of the trial, which waits for the last upload. The server, which is another machine where it counts, has another
core. The seconds of whole trials are printed, but differ more from one to the next than uploads cost.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import psutil

from experiments.databases import postgres
from experiments.engines import Bucket, object_store, trained_again
from experiments.table import Table, exactly, figure, promise
from experiments.workers import Workers, trained_twice_at_once, trainings, wait_for

EPOCHS, EPOCH_SECONDS = 10, 0.4
POLL_SECONDS = 0.05
LARGE = {
    "model": {"class": "models.dnn:DNN", "width": 1500, "depth": 2, "lr": 1e-3, "optimizer": "adam"},
    "data": {"class": "models.data:Digits", "batch_size": 64},
    "objective": {"metric": "val_loss", "direction": "minimize"},
    "space": {},
    "epochs": 150,
    "early_stopping": None,
}


class Moving(Workers):
    """Workers that share nothing but the database and an object store."""

    def __init__(self, folder: Path, url: str, bucket: Bucket, **keys: Any) -> None:
        self._bucket = bucket
        super().__init__(folder, url, slots=1, **keys)

    @property
    def _environment(self) -> dict[str, str]:
        number = len(self.processes) % 2
        return {**os.environ, **self._bucket.machine(self.folder / f"machine-{number}"), "HPO_STORE": self.url}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3, help="of the cost of uploads")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    rows = []
    for kills in (False, True):
        with (
            postgres() as server,
            object_store() as bucket,
            tempfile.TemporaryDirectory(prefix="hpo-moves-") as name,
        ):
            url = server.create_database()
            study = Moving(
                Path(name),
                url,
                bucket,
                seconds=EPOCH_SECONDS,
                epochs=EPOCHS,
                budget={"trials": options.trials},
                retries={"crash": 100},  # a trial that happened to be killed three times has not failed
            )
            moves = _move(study, random.Random(options.seed), kills=kills)
            records, found = study.trials(), trainings(study.diary)
            what = "kill -9" if kills else "drains"
            rows += [
                figure(f"{what}: how many", str(moves)),
                exactly(f"{what}: trials complete", sum(one.state == "complete" for one in records), options.trials),
                promise(f"{what}: trained twice at once", trained_twice_at_once(found), 0),
            ]
            again = trained_again(found)
            # An upload comes 5 s after an attempt's begin at the earliest, which is longer than these trials.
            most = moves * EPOCHS if kills else 0
            rows.append(promise(f"{what}: epochs trained twice", again, most))
    if options.rounds:
        costs = [100 * _cost(number) for number in range(options.rounds)]
        spread = f" ({min(costs):.1f} to {max(costs):.1f})"
        what = "cost of uploads, % of the time of a trial with 10 MB"
        rows.append(promise(what, statistics.median(costs), 3, digits=1, note=spread))
    return Table(("", "measured", "promised"), rows)


def _move(study: Moving, draw: random.Random, *, kills: bool) -> int:
    """Two workers, of which one after the other is ended and started again until all is trained; how many were."""
    moves = 0
    for _ in range(2):
        study.start()
    wait_for(lambda: study.diary.stat().st_size > 0, seconds=120)
    places = {process.pid: number for number, process in enumerate(study.processes)}
    while study.alive:
        time.sleep(draw.uniform(3, 6))
        victims = study.alive
        if not victims or all(record.state == "complete" for record in study.trials()):
            break
        victim = draw.choice(victims)
        victim.send_signal(signal.SIGKILL if kills else signal.SIGTERM)
        victim.wait(60)
        moves += 1
        while len(study.processes) % 2 != places[victim.pid] % 2:  # the machine of the one that ended
            study.processes.append(subprocess.Popen(["true"]))
        places[study.start().pid] = places[victim.pid]
    study.wait(seconds=300)
    study.close()
    return moves


def _cost(number: int) -> float:
    """What uploads cost a trial of a large model, as a share of its time."""
    costs, trial_seconds = {}, {}
    for in_object_store in (False, True) if number % 2 else (True, False):
        with contextlib.ExitStack() as stack:
            with _on_core(-1):
                bucket = stack.enter_context(object_store())
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="hpo-moves-"))
            more = bucket.machine(Path(name) / "cache") if in_object_store else {}
            url = f"sqlite:///{name}/hpo.db"
            with _on_core(0):
                study = Plain(Path(name), url, more, **LARGE, budget={"trials": 1})
                worker = psutil.Process(study.start().pid)
            processor_seconds, trained_until = _watch(study, worker)
            [record] = study.trials()
            assert record.seconds is not None
            assert record.ended is not None
            waited = record.ended.replace(tzinfo=UTC).timestamp() - trained_until
            print(number, in_object_store, record.seconds, processor_seconds, waited, file=sys.stderr, flush=True)
            costs[in_object_store], trial_seconds[in_object_store] = processor_seconds + waited, record.seconds
    return (costs[True] - costs[False]) / trial_seconds[False]


def _watch(study: Workers, worker: psutil.Process) -> tuple[float, float]:
    """The processor time of a worker, without its children, until its end; and when a trial last trained."""
    used = trained_until = 0.0
    while study.alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            used = max(used, sum(worker.cpu_times()[:2]))
            trained_until = time.time() if study.trial_processes() else trained_until
        time.sleep(POLL_SECONDS)
    return used, trained_until


@contextlib.contextmanager
def _on_core(index: int) -> Iterator[None]:
    """Processes that are started here have one core, the one at this place among those of this process."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Plain(Workers):
    """A worker with an environment of its own."""

    def __init__(self, folder: Path, url: str, more: dict[str, str], **keys: Any) -> None:
        self._more = more
        super().__init__(folder, url, slots=1, seconds=0.0, **keys)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HPO_STORE": self.url, "HPO_ARTIFACTS": str(self.folder / "artifacts"), **self._more}
