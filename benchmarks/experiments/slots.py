"""64 slots from 16 workers: on a PostgreSQL as it comes, with its 100 connections, and on one SQLite file.

The workers, their servers and their trial processes are real; a trial sleeps through most of its epochs, so that two
cores can carry 64 of them. While they run, PostgreSQL is asked twice a second whose its connections are.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg

from experiments.databases import KINDS, new_store
from experiments.table import Row, Table, exactly, figure, promise
from experiments.workers import Workers, most_at_once, trained_twice_at_once, trainings

WORKERS, SLOTS = 16, 4
TRIALS, EPOCHS, EPOCH_SECONDS = 160, 5, 3.0
CONNECTIONS_OF_A_WORKER = 2
LONGEST_SECONDS = 900.0
GIB = 2**30


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stores", nargs="+", choices=KINDS, default=list(KINDS))


def measure(options: argparse.Namespace) -> Table:
    rows: list[Row] = []
    for kind in options.stores:
        with tempfile.TemporaryDirectory(prefix="hpo-slots-") as folder, new_store(kind, Path(folder)) as url:
            rows += _play(kind, Path(folder), url)
    return Table(("", "measured", "promised"), rows)


def _play(kind: str, folder: Path, url: str) -> list[Row]:
    workers = Workers(
        folder, url, slots=SLOTS, seconds=EPOCH_SECONDS, epochs=EPOCHS, budget={"trials": TRIALS}, retries={"crash": 0}
    )
    connections: Counter[str] = Counter()  # the most of each worker
    most_memory = next_weighing = 0.0

    def look() -> None:
        nonlocal most_memory, next_weighing
        if time.monotonic() > next_weighing:  # it takes seconds
            next_weighing = time.monotonic() + 20.0
            most_memory = max(most_memory, _memory(workers))
        if kind == "postgresql":
            for name, count in _connections(url).items():
                connections[name] = max(connections[name], count)

    try:
        for _ in range(WORKERS):
            workers.start()
            _watch(look, seconds=2.0)  # sixteen imports of torch at once would be another experiment
        end = time.monotonic() + LONGEST_SECONDS
        while workers.alive and time.monotonic() < end:
            _watch(look, seconds=0.5)
        codes = [process.poll() for process in workers.processes]
    finally:
        workers.close()
    records, logs, found = workers.trials(), workers.logs(), trainings(workers.diary)
    rows = [
        exactly(f"{kind}: workers that ended well", sum(code == 0 for code in codes), WORKERS),
        exactly(f"{kind}: trials complete", sum(record.state == "complete" for record in records), TRIALS),
        exactly(f"{kind}: of them at the first attempt", sum(record.attempts == 1 for record in records), TRIALS),
        exactly(f"{kind}: trained twice at once", trained_twice_at_once(found), 0),
        figure(f"{kind}: trials that were trained at one moment, at most", str(most_at_once(found))),
        figure(f"{kind}: memory of all processes, at most", f"{most_memory / GIB:.1f} GiB"),
    ]
    if kind == "sqlite":
        return [*rows, exactly("sqlite: 'database is locked' in a log", logs.count("database is locked"), 0)]
    most = max((count for name, count in connections.items() if name.startswith("worker")), default=0)
    return [
        *rows,
        exactly("postgresql: 'too many clients' or lost stores in a log", logs.count("is unreachable"), 0),
        promise("postgresql: connections of a worker, at most", most, CONNECTIONS_OF_A_WORKER),
    ]


def _watch(look: Callable[[], None], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        look()
        if time.monotonic() > end:
            return
        time.sleep(0.5)


def _connections(url: str) -> Counter[str]:
    """How many connections each worker has."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT application_name FROM pg_stat_activity WHERE backend_type = 'client backend'")
        return Counter(str(row[0]) for row in rows)


def _memory(workers: Workers) -> float:
    """Bytes of all processes, each page shared out among those that have it."""
    total = 0.0
    for worker in workers.alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(worker.pid)
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += one.memory_full_info().pss
    return total
