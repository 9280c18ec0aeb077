"""A worker is killed: seconds until others have reclaimed its trial.

With a free peer, until it has claimed the trial; with all peers in trials that last for minutes, until one of them has
ended the lost attempt, so that the trial can be claimed. The promise is three heartbeats.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from experiments.databases import KINDS, new_store
from experiments.table import Row, Table
from experiments.workers import Workers, wait_for
from hpo.store import Store, Timing
from hpo.store.tables import hpo_attempts, hpo_workers

WORKERS = 3
LONGEST_SECONDS = 60.0
HEARTBEATS = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stores", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    rows = []
    for kind in options.stores:
        for is_busy in (False, True):
            with tempfile.TemporaryDirectory(prefix="hpo-reclaim-") as folder, new_store(kind, Path(folder)) as url:
                found = _play(Path(folder), url, is_busy=is_busy, rounds=options.rounds, seed=options.seed)
            most = max(found) / Timing().heartbeat
            cells = (
                kind,
                "all inside trials" if is_busy else "one is free",
                str(len(found)),
                f"{min(found):.1f}, {statistics.median(found):.1f}, {max(found):.1f}",
                f"{most:.1f}",
            )
            rows.append(Row(cells, (f"more than {HEARTBEATS} heartbeats",) if most > HEARTBEATS else ()))
    return Table(("store", "peers", "kills", "least, median, most s", "most heartbeats"), rows)


def _play(folder: Path, url: str, *, is_busy: bool, rounds: int, seed: int) -> list[float]:
    draw = random.Random(seed)
    busy = WORKERS if is_busy else WORKERS - 1
    trials: dict[str, Any] = {"budget": {"trials": busy}, "epochs": 10_000, "retries": {"crash": rounds}}
    workers = Workers(folder, url, slots=1, seconds=1.0, **trials)
    found = []
    try:
        with Store.open(url) as store:
            for _ in range(WORKERS):
                workers.start()
            for _ in range(rounds):
                holders = wait_for(lambda: _holders(store, workers, busy), seconds=240)
                wait_for(lambda: len(workers.trial_processes()) == busy, seconds=240)
                time.sleep(draw.uniform(0, Timing().heartbeat))  # the last heartbeat was some time ago
                victim, attempt = draw.choice(holders)
                victim.kill()
                killed = time.monotonic()
                is_back = wait_for(
                    lambda of=attempt: _is_back(store, of, claimed=not is_busy),  # type: ignore[misc]
                    seconds=LONGEST_SECONDS,
                )
                found.append(time.monotonic() - killed if is_back else float("inf"))
                workers.start()
    finally:
        workers.close()
    return found


def _holders(store: Store, workers: Workers, busy: int) -> list[tuple[subprocess.Popen[bytes], int]]:
    """The workers that train, each with its attempt; none before there are enough of them."""
    with store.read() as connection:
        rows = connection.execute(
            select(hpo_workers.c.pid, hpo_attempts.c.attempt_id)
            .join(hpo_attempts, hpo_attempts.c.worker_id == hpo_workers.c.worker_id)
            .where(hpo_attempts.c.ended.is_(None))
        ).all()
    attempts = {row.pid: row.attempt_id for row in rows}
    found = [(process, attempts[process.pid]) for process in workers.alive if process.pid in attempts]
    # All workers are ready to train, also the free one.
    are_ready = len(workers.alive) == WORKERS and all("working on it" in workers.log(one) for one in workers.alive)
    return found if len(found) == busy and are_ready else []


def _is_back(store: Store, attempt: int, *, claimed: bool) -> bool:
    with store.read() as connection:
        row = connection.execute(
            select(hpo_attempts.c.trial_id, hpo_attempts.c.ended).where(hpo_attempts.c.attempt_id == attempt)
        ).one()
        if not claimed or row.ended is None:
            return row.ended is not None
        later = select(hpo_attempts.c.attempt_id).where(
            hpo_attempts.c.trial_id == row.trial_id, hpo_attempts.c.attempt_id > attempt
        )
        return connection.execute(later).first() is not None
