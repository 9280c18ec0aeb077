"""A worker is killed before or after one of its statements or commits, in some hundred seeded runs; another goes on.

Simulated workers: the first one dies at a random statement, the second one trains what is left. The totals have to be
exact, each trial has to have ended once with all its epochs, and the doctor has to find nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event

from experiments.databases import KINDS, new_store
from experiments.simulated import EPOCHS, SimulatedWorker, create_study
from experiments.table import Row, Table
from hpo.doctor.examination import examine
from hpo.queue.leases import expire_leases
from hpo.queue.studies import load_study
from hpo.results.study import Study
from hpo.store import Store, StoreUrl, Timing

TRIALS = 3
MOMENTS = ("before_cursor_execute", "after_cursor_execute", "commit", "after commit")
TIMING = Timing(heartbeat=0.05, lease=0.3, poll=0.05)
LONGEST_SECONDS = 60.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stores", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--runs", type=int, default=500, help="of each kind of store")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    header = (
        "store",
        "runs",
        "crashes",
        "trials complete",
        "wrong totals",
        "findings of the doctor",
        "not over in time",
    )
    rows = []
    for kind in options.stores:
        found: Counter[str] = Counter()
        with tempfile.TemporaryDirectory(prefix="hpo-crashes-") as folder, new_store(kind, Path(folder)) as url:
            Store.create(url).close()
            for number in range(options.runs):
                outcome = _play(url, Path(folder), random.Random(f"{options.seed} {number}"), f"run-{number}")
                found += outcome
                if outcome["wrong"] or outcome["late"]:
                    print(f"{kind}, seed {options.seed}, run {number}: {outcome}", file=sys.stderr, flush=True)
            problems = [
                str(finding)
                for finding in examine(StoreUrl.parse(url), artifacts=Path(folder))
                if finding.level == "problem" and finding.about not in ("versions",)
            ]
        for problem in problems[:5]:
            print(problem, file=sys.stderr)
        cells = (
            kind, str(options.runs), str(found["crashed"]), f"{found['complete']} of {TRIALS * options.runs}",
            str(found["wrong"]), str(len(problems)), str(found["late"]),
        )  # fmt: skip
        rows.append(Row(cells, tuple(f"{kind}: {name}" for name in ("wrong", "late") if found[name])))
    return Table(header, rows)


def _play(url: str, folder: Path, draw: random.Random, name: str) -> Counter[str]:
    context = multiprocessing.get_context("fork")
    with Store.open(url) as store:
        create_study(store, name=name, sampler="random", pruner="none", budget={"trials": TRIALS})
    moment, place = draw.choice(MOMENTS), draw.randint(1, 40 * TRIALS)
    first = context.Process(target=_work, args=(url, folder, name, moment, place))
    first.start()
    first.join()
    second = context.Process(target=_work, args=(url, folder, name, None, 0))
    second.start()
    second.join(LONGEST_SECONDS)
    is_late = second.is_alive()
    if is_late:
        second.kill()
        second.join()
    with Store.open(url) as store:
        records = Study(store, name).trials()
    whole = [record for record in records if record.state == "complete" and len(record.curve) == EPOCHS]
    return Counter(
        crashed=first.exitcode == -signal.SIGKILL,
        complete=len(whole),
        wrong=len(records) != TRIALS or len(whole) != TRIALS,
        late=is_late,
    )


def _work(url: str, folder: Path, name: str, moment: str | None, place: int) -> None:
    """Train the study's trials to its end, or to a crash."""
    with Store.open(url) as opened:
        store = replace(opened, timing=TIMING)
        if moment is not None:
            _crash_at(store, moment, place)
        worker = SimulatedWorker(store, load_study(store, name), folder, host=platform.node(), pid=os.getpid())
        while True:
            worker.outbox.attempt(lambda: expire_leases(store))
            worker.outbox.attempt(worker.run.refresh)
            if worker.run.is_over:
                break
            trial = worker.claim()
            if trial is None:
                time.sleep(TIMING.poll)
                continue
            worker.started(trial)
            for epoch in range(trial.epoch + 1, EPOCHS + 1):
                worker.outbox.attempt(lambda own=trial: worker.heartbeat(own))  # type: ignore[misc]
                if worker.epoch(trial, epoch):
                    break
            worker.end(trial)
            worker.outbox.flush()


def _crash_at(store: Store, moment: str, place: int) -> None:
    """Kill this process at the so many-th such moment."""
    left = place

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "after commit":
        do_commit: Callable[[Any], None] = store.engine.dialect.do_commit

        def commit(connection: Any) -> None:
            do_commit(connection)
            count()

        store.engine.dialect.do_commit = commit  # type: ignore[method-assign, assignment]
    else:
        event.listen(store.engine, moment, count)
