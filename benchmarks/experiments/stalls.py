"""Four workers, and a store or a machine that stands still three times, for 1 to 60 seconds each: no lease is lost.

Simulated workers in processes of their own, with leases of 12 s (of `HPO_TIMING`): PostgreSQL is stopped with SIGSTOP,
PgBouncer is paused, another program keeps SQLite's file locked, or all workers are stopped and wake up in any order.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from experiments.databases import postgres
from experiments.pooling import PORT, pgbouncer
from experiments.simulated import SimulatedWorker, create_study
from experiments.table import Row, Table
from hpo.queue.studies import load_study
from hpo.store import Store, Timing

KINDS = ("postgresql", "pgbouncer", "sqlite", "workers")
WORKERS, STALLS = 4, 3
EPOCH_SECONDS, POLL_SECONDS = 1.5, 1.0

Stand = Callable[[Sequence[BaseProcess], float, random.Random], None]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds of a stall")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    header = ("what stands still", "rounds", "stalls", "seconds of them", "trials", "leases lost", "attempts spent")
    rows = []
    for kind in options.kinds:
        draw = random.Random(options.seed)
        stalls, trials, lost, spent = [], 0, 0, 0
        for _ in range(options.rounds):
            lengths = [draw.uniform(1.0, options.longest) for _ in range(STALLS)]
            with (
                tempfile.TemporaryDirectory(prefix="hpo-stalls-") as folder,
                _place(kind, Path(folder)) as (url, stand),
            ):
                found = _play(url, Path(folder), stand, lengths, draw)
            stalls += lengths
            trials, lost, spent = trials + found[0], lost + found[1], spent + found[2]
            print(f"{kind}: {lengths}: {found}", file=sys.stderr, flush=True)
        broken = tuple(f"{kind}: {count} {what}" for count, what in ((lost, "leases lost"), (spent, "spent")) if count)
        cells = (kind, str(options.rounds), str(len(stalls)), f"{sum(stalls):.0f}", str(trials), str(lost), str(spent))
        rows.append(Row(cells, broken))
    return Table(header, rows)


def _play(url: str, folder: Path, stand: Stand, lengths: list[float], draw: random.Random) -> tuple[int, int, int]:
    """(trials that ended, leases lost, attempts that count against the retries of their trial)."""
    with Store.create(url) as store:
        create_study(store, sampler="random", pruner="none", retries={"crash": 100})
    context = multiprocessing.get_context("fork")
    beat = Timing.of_environment().heartbeat
    seconds = sum(lengths) + (2.4 * STALLS + 4) * beat
    members = [context.Process(target=_work, args=(url, folder, seconds)) for _ in range(WORKERS)]
    for member in members:
        member.start()
    time.sleep(beat)
    for length in lengths:
        stand(members, length, draw)
        time.sleep(draw.uniform(0.4, 2.4) * beat)
    for member in members:
        member.join()
    with Store.open(url) as store, store.read() as connection:
        row = connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM trials WHERE state = 'COMPLETE'), "
            "(SELECT count(*) FROM hpo_attempts WHERE cause LIKE 'lost:%%'), "
            "(SELECT count(*) FROM hpo_attempts WHERE kind = 'crash')"
        ).one()
    return int(row[0]), int(row[1]), int(row[2])


def _work(url: str, folder: Path, seconds: float) -> None:
    from experiments.in_fleet import Part, live

    with Store.open(url) as store:
        worker = SimulatedWorker(store, load_study(store, "simulated"), folder)
        now = time.monotonic()
        live(worker, Part(), EPOCH_SECONDS, POLL_SECONDS, now, now, now + seconds)


@contextmanager
def _place(kind: str, folder: Path) -> Iterator[tuple[str, Stand]]:
    """(the URL of an empty store, what makes it stand still)."""
    if kind in ("sqlite", "workers"):
        yield f"sqlite:///{folder}/hpo.db", (_lock(folder / "hpo.db") if kind == "sqlite" else _sleep)
        return
    with postgres() as server:
        url = server.create_database()
        if kind == "postgresql":
            yield url, _signals(server.processes, signal.SIGSTOP, signal.SIGCONT)
            return
        with pgbouncer(server) as (socket, pool):
            # it pauses and resumes by these signals, as by the commands of its console
            database = url.partition("@/")[2].partition("?")[0]
            through = f"postgresql://postgres@/{database}?host={socket}&port={PORT}"
            yield through, _signals(lambda: [pool], signal.SIGUSR1, signal.SIGUSR2)


def _signals(processes: Callable[[], list[psutil.Process]], halt: signal.Signals, go: signal.Signals) -> Stand:
    def stand(_: Sequence[BaseProcess], seconds: float, __: random.Random) -> None:
        stopped = processes()
        for process in stopped:
            process.send_signal(halt)
        time.sleep(seconds)
        for process in stopped:
            process.send_signal(go)

    return stand


def _lock(path: Path) -> Stand:
    def stand(_: Sequence[BaseProcess], seconds: float, __: random.Random) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            other.execute("ROLLBACK")

    return stand


def _sleep(members: Sequence[BaseProcess], seconds: float, draw: random.Random) -> None:
    pids = [member.pid for member in members if member.pid is not None and member.is_alive()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in draw.sample(pids, len(pids)):
        os.kill(pid, signal.SIGCONT)
        time.sleep(draw.uniform(0.0, 1.0))
