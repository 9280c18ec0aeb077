"""Stalls: a database that does not answer for a while, a lock that is kept, a machine that sleeps. Nothing is lost."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from conftest import PostgresServer
from projects.launch import Hpo, descendants, finish, wait_for

# Stalls of 5 s are longer than such a lease.
TIMING = {"HPO_TIMING": "poll=0.2,heartbeat=1,lease=4"}
STALL_SECONDS = 5.0


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of its own, to be stopped."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-stall-"))
    server = PostgresServer(folder)
    yield server
    server.close()
    shutil.rmtree(folder)


def start_workers(hpo: Hpo, count: int) -> list[subprocess.Popen[str]]:
    """Workers of a study of six trials of some 15 seconds, when each of them trains two."""
    keys = {"epochs": 30, "budget": {"trials": 2 * count}}
    hpo.run("submit", hpo.study("weather", model={"class": "projects.nets:Line", "seconds": 0.5}, **keys))
    workers = [hpo.start("worker", "weather", "--until-idle", "--slots", 2) for _ in range(count)]
    wait_for(lambda: sum(record.epochs > 0 for record in hpo.trials("weather")) == 2 * count)
    return workers


def check_that_nothing_was_lost(hpo: Hpo, workers: list[subprocess.Popen[str]]) -> str:
    """Every trial has one attempt, each epoch once; what the workers have printed."""
    ended = [finish(worker) for worker in workers]
    output = "".join(printed for _, printed in ended)
    assert [code for code, _ in ended] == [0] * len(workers), output
    assert "lost its worker" not in output
    assert "Traceback" not in output
    records = hpo.trials("weather")
    assert [(record.state, record.attempts) for record in records] == [("complete", 1)] * 2 * len(workers), output
    assert all([epoch for epoch, _ in record.curve] == list(range(1, 31)) for record in records)
    return output


def test_a_postgresql_that_is_suspended_longer_than_a_lease_costs_no_lease(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    hpo = Hpo(tmp_path, own_postgres.url(own_postgres.create_database()), environment=TIMING)
    workers = start_workers(hpo, 2)

    for _ in range(2):
        with own_postgres.stopped():
            time.sleep(STALL_SECONDS)
        time.sleep(1.0)

    output = check_that_nothing_was_lost(hpo, workers)
    assert "is unreachable" in output
    assert "the store answers again" in output


def test_a_lock_of_the_sqlite_file_that_is_kept_longer_than_a_lease_costs_no_lease(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=TIMING)
    workers = start_workers(hpo, 2)

    with closing(sqlite3.connect(tmp_path / "hpo.db", isolation_level=None, timeout=60)) as other:
        for _ in range(2):
            other.execute("BEGIN IMMEDIATE")
            time.sleep(STALL_SECONDS)
            other.execute("ROLLBACK")
            time.sleep(1.0)

    output = check_that_nothing_was_lost(hpo, workers)
    assert "is unreachable" in output
    assert "the store answers again" in output


def test_workers_that_all_sleep_longer_than_a_lease_wake_in_any_order_and_keep_their_trials(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=TIMING)
    workers = start_workers(hpo, 2)
    order = random.Random(0)

    for _ in range(2):
        groups = [[psutil.Process(worker.pid), *descendants(worker)] for worker in workers]
        for process in (process for group in groups for process in group):
            process.send_signal(signal.SIGSTOP)
        time.sleep(STALL_SECONDS)
        order.shuffle(groups)
        for group in groups:
            for process in group:
                process.send_signal(signal.SIGCONT)
            time.sleep(0.3)
        time.sleep(1.0)

    check_that_nothing_was_lost(hpo, workers)
