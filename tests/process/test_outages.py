"""Outages: while the store is unreachable, workers survive and no result is lost."""

from __future__ import annotations

import logging
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects.launch import Hpo, finish, read_until, wait_for
from projects.synthetic import Claimant, create_study
from sqlalchemy import create_engine, text

from hpo.queue.report import report_epoch
from hpo.results.study import Study
from hpo.store import Store, Timing
from hpo.worker import outbox as outbox_module
from hpo.worker.outbox import Outbox

if TYPE_CHECKING:
    from conftest import PostgresServer


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of its own, to be stopped."""
    from conftest import PostgresServer

    folder = Path(tempfile.mkdtemp(prefix="hpo-outage-"))
    server = PostgresServer(folder)
    yield server
    server.close()
    shutil.rmtree(folder)


def test_a_postgresql_that_is_killed_and_comes_back_costs_no_worker_and_no_result(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    """Optuna: 8 of 8 workers die, and their trials stay RUNNING."""
    database = own_postgres.create_database()
    hpo = Hpo(tmp_path, own_postgres.url(database))
    file = hpo.study("weather", model={"class": "projects.nets:Line", "seconds": 0.5}, epochs=6, budget={"trials": 6})
    worker = hpo.start("run", file, "--slots", 2)
    wait_for(lambda: sum(record.epochs > 0 for record in hpo.trials("weather")) == 2)

    own_postgres.kill()
    before = read_until(worker, "training continues")
    own_postgres.start()
    code, output = finish(worker)

    assert "training continues" in before
    assert code == 0, output
    assert "the store answers again" in output
    records = hpo.trials("weather")
    assert [(record.state, record.attempts) for record in records] == [("complete", 1)] * 6
    assert all([epoch for epoch, _ in record.curve] == [1, 2, 3, 4, 5, 6] for record in records)


@contextmanager
def no_room(folder: Path) -> Iterator[None]:
    """No file of this process may grow, as on a full disk."""
    size = max(path.stat().st_size for path in folder.glob("hpo.db*"))
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(size, 4096), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def test_reports_wait_while_the_disk_is_full_and_are_then_written_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna: AssertionError."""
    monkeypatch.setattr(outbox_module, "FIRST_PAUSE_SECONDS", 0.05)
    with Store.create(f"sqlite:///{tmp_path}/hpo.db") as store:
        worker = Claimant(store, create_study(store))
        claim = worker.claim()
        assert claim is not None
        worker.begin(claim)
        outbox = Outbox(store)
        called: list[tuple[int, bool]] = []

        with no_room(tmp_path), caplog.at_level(logging.WARNING):
            for epoch in (1, 2, 3):
                outbox.put(
                    lambda connection, epoch=epoch: report_epoch(  # type: ignore[misc]
                        connection, claim, epoch=epoch, value=0.1 * epoch, metrics={"a": 1.0}, seconds=1.0,
                        system_attributes={},
                    ),
                    then=lambda is_ours, epoch=epoch: called.append((epoch, is_ours)),  # type: ignore[misc]
                )  # fmt: skip
            was_written = outbox.flush()
            second = outbox.attempt(lambda: True)
        is_waiting = not outbox.is_empty
        while not outbox.flush():
            time.sleep(0.05)

        assert (was_written, second, is_waiting) == (False, None, True)
        assert len([record for record in caplog.records if "3 reports wait" in record.message]) == 1  # once a minute
        assert called == [(1, True), (2, True), (3, True)]
        assert [epoch for epoch, _ in Study(store, "synthetic").trials()[0].curve] == [1, 2, 3]


def test_a_report_that_can_never_be_written_blocks_no_other(store: Store) -> None:
    worker = Claimant(store, create_study(store))
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    outbox = Outbox(store)
    called: list[bool] = []

    outbox.put(
        lambda connection: connection.execute(text("INSERT INTO nowhere VALUES (1)")) is None, then=called.append
    )
    outbox.put(
        lambda connection: report_epoch(
            connection, claim, epoch=1, value=0.5, metrics={}, seconds=1.0, system_attributes={}
        ),
        then=called.append,
    )

    assert outbox.flush()
    assert called == [False, True]
    assert outbox.is_empty
    assert Study(store, "synthetic").trials()[0].epochs == 1


def test_a_callback_that_finds_the_store_unreachable_blocks_no_other_callback(store: Store) -> None:
    worker = Claimant(store, create_study(store))
    claims = [worker.claim() for _ in range(3)]
    for claim in claims:
        assert claim is not None
        worker.begin(claim)
    outbox = Outbox(store)
    called: list[int] = []

    def then(number: int) -> None:
        called.append(number)
        if number == 0:  # what it does next fails as it does without a server
            with create_engine("postgresql+psycopg://nobody@/none?host=/nowhere").connect():
                raise AssertionError

    for claim in claims:
        assert claim is not None
        outbox.put(
            lambda connection, claim=claim: report_epoch(  # type: ignore[misc]
                connection, claim, epoch=1, value=0.5, metrics={}, seconds=1.0, system_attributes={}
            ),
            then=lambda _, number=claim.number: then(number),  # type: ignore[misc]
        )
    was_written = outbox.flush()
    first, is_waiting = list(called), not outbox.is_empty
    while not outbox.flush():
        time.sleep(0.05)

    assert (was_written, first, is_waiting) == (False, [0], True)
    assert called == [0, 1, 2]
    assert [record.epochs for record in Study(store, "synthetic").trials()] == [1, 1, 1]


def test_a_reconnected_worker_lets_the_others_renew_before_it_ends_their_leases(store: Store) -> None:
    store = replace(store, timing=Timing(heartbeat=0.1, lease=0.5))
    outbox = Outbox(store)
    wait_for(lambda: outbox.attempt(lambda: True) and outbox.knows_leases)

    outbox.mark_down("a test")
    while outbox.attempt(lambda: True) is None:
        time.sleep(0.1)

    assert outbox.is_up
    assert not outbox.knows_leases
    wait_for(lambda: outbox.attempt(lambda: True) and outbox.knows_leases)


def test_a_worker_that_stood_still_ends_no_leases_until_the_others_have_renewed(store: Store) -> None:
    """It noticed no outage: it was stopped with all others, as on a laptop that sleeps."""
    store = replace(store, timing=Timing(heartbeat=0.1, lease=0.5))
    outbox = Outbox(store)
    wait_for(lambda: outbox.attempt(lambda: True) and outbox.knows_leases)

    time.sleep(2 * store.timing.stall)
    outbox.attempt(lambda: True)

    assert outbox.is_up
    assert not outbox.knows_leases
