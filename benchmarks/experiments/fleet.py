"""A thousand simulated workers on one PostgreSQL, through PgBouncer.

Each one claims, samples at random, reports ten epochs, finishes, sends a heartbeat every 5 s and polls the store every
second with the worker's real code, on its own connection; only the training is replaced: an epoch is a pause. All are
threads of eight processes, and share this machine's cores with the database, so the step at which it stops scaling is
the limit of a database of that many cores that also runs its clients. The processor time of PostgreSQL, of PgBouncer
and of the simulated workers is given separately.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.databases import Postgres, postgres
from experiments.pooling import PORT, pgbouncer
from experiments.simulated import EPOCHS, create_study
from experiments.table import Row, Table
from hpo.store import Store

PROCESSES = 8  # so that a thread with a lock of the database seldom waits for others of its process


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, nargs="+", default=[50, 100, 200, 500, 1000])
    parser.add_argument("--seconds", type=float, default=40.0, help="measured time of each step")
    parser.add_argument("--epoch-seconds", type=float, default=3.0)
    parser.add_argument("--poll-seconds", type=float, default=1.0, help="between a worker's polls of the store")
    parser.add_argument("--connections", type=int, default=20, help="of the server, in PgBouncer's pool")
    parser.add_argument("--direct", action="store_true", help="without PgBouncer")


def measure(options: argparse.Namespace) -> Table:
    header = (
        "workers", "trials a minute", "of the possible", "claim and sampling, median, p95 ms", "poll, median, p95 ms",
        "errors", "leases lost", "connections of the server", "processor s a s: database, pool, workers",
    )  # fmt: skip
    rows = []
    with postgres() as server:
        for count in options.workers:
            rows.append(_step(server, count, options))
            print(rows[-1], file=sys.stderr, flush=True)
    return Table(header, rows)


def _step(server: Postgres, count: int, options: argparse.Namespace) -> Row:
    url = server.create_database()
    name = re.findall(r"@/(\w+)", url)[0]
    with (
        tempfile.TemporaryDirectory(prefix="hpo-fleet-") as folder,
        pgbouncer(server, connections=options.connections) as (socket, pool),
    ):
        with Store.create(url) as store:
            create_study(store, sampler="random", pruner="none", retries={"crash": 100})
        through = url if options.direct else f"postgresql://postgres@/{name}?host={socket}&port={PORT}"
        before = [_processor_seconds(server), sum(pool.cpu_times()[:2])]
        parts = _run(count, through, folder, options)
        spent = [_processor_seconds(server) - before[0], sum(pool.cpu_times()[:2]) - before[1]]
        with server.connect() as connection:
            row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,)).fetchone()
        with Store.open(url) as store, store.read() as reader:
            lost = reader.exec_driver_sql("SELECT count(*) FROM hpo_attempts WHERE kind = 'crash'").scalar()
    errors: Counter[str] = sum((Counter(part["errors"]) for part in parts), Counter())
    finished = sum(part["finished"] for part in parts)
    possible = count * options.seconds / (EPOCHS * options.epoch_seconds)
    lived = statistics.mean(part["lived"] for part in parts)
    load = [*(seconds / lived for seconds in spent), sum(part["processor"] for part in parts) / lived]
    cells = (
        str(count), f"{60 * finished / options.seconds:.0f}", f"{finished / possible:.0%}",
        _two([seconds for part in parts for seconds in part["claims"]]),
        _two([seconds for part in parts for seconds in part["polls"]]),
        ", ".join(f"{number} {words}" for words, number in errors.items()) or "0",
        str(lost), str(row[0] if row else 0), ", ".join(f"{one:.2f}" for one in load),
    )  # fmt: skip
    return Row(cells)


def _run(count: int, url: str, folder: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    program = str(Path(__file__).parent / "in_fleet.py")
    shares = [count // PROCESSES + (part < count % PROCESSES) for part in range(PROCESSES)]
    members = [
        subprocess.Popen(
            [
                sys.executable, program, url, folder, str(share), str(options.seconds), str(options.epoch_seconds),
                str(options.poll_seconds),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for share in shares
    ]  # fmt: skip
    for member in members:  # when all have opened the store
        assert member.stdout is not None
        assert member.stdout.readline() == "ready\n"
    for member in members:
        assert member.stdin is not None
        member.stdin.write("go\n")
        member.stdin.flush()
    return [json.loads(member.communicate(timeout=900)[0].splitlines()[-1]) for member in members]


def _processor_seconds(server: Postgres) -> float:
    """The processor seconds of all processes of the server, including those that have exited."""
    postmaster, *others = server.processes()
    times = postmaster.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    return total + sum(sum(process.cpu_times()[:2]) for process in others)


def _two(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "-"
    return f"{1000 * statistics.median(seconds):.0f}, {1000 * statistics.quantiles(seconds, n=20)[-1]:.0f}"
