"""Workers on machines whose time zone or clock is another one."""

from __future__ import annotations

import os
import subprocess
import sys

from projects.synthetic import Claimant, create_study
from sqlalchemy import select

from hpo.queue.leases import expire_leases
from hpo.queue.progress import load_progress
from hpo.store import Store
from hpo.store.tables import hpo_attempts

ELSEWHERE = """
import sys
from hpo.queue.claim import claim_trial
from hpo.queue.leases import expire_leases, heartbeat, register_worker
from hpo.store import Store, Timing

with Store.open(sys.argv[1]) as store:
    me = register_worker(store, host="tokyo", pid=1, slots=1)
    claim = claim_trial(store, int(sys.argv[2]), worker_id=me, slot=0, device="cpu")
    heartbeat(store, me, [claim.attempt_id])
    print(expire_leases(store))
"""


# Trains so many trials, with the clock of its machine set back.
BEHIND = """
import datetime, sys

class Behind(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(hours=3)

datetime.datetime = Behind
from hpo.queue.claim import claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.report import begin_trial, finish_trial
from hpo.store import Store

with Store.open(sys.argv[1]) as store:
    me = register_worker(store, host="behind", pid=1, slots=1)
    for _ in range(int(sys.argv[3])):
        claim = claim_trial(store, int(sys.argv[2]), worker_id=me, slot=0, device="cpu")
        with store.write() as connection:
            begin_trial(connection, claim, params={}, config={"params": {}})
            assert finish_trial(connection, claim, state="COMPLETE", values=[0.1], seconds=0.1)
"""


def test_a_worker_whose_time_zone_is_tokyo_fails_no_healthy_trial(store: Store) -> None:
    study = create_study(store)
    here = Claimant(store, study)
    claim = here.claim()
    assert claim is not None
    environment = os.environ | {"PGTZ": "Asia/Tokyo", "TZ": "Asia/Tokyo"}

    command = [sys.executable, "-c", ELSEWHERE, store.url.reveal(), str(study.study_id)]
    there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert there.stdout.split() == ["[]"]
    assert expire_leases(store) == []
    with store.read() as connection:
        until = connection.scalars(select(hpo_attempts.c.lease_until)).all()
    assert abs(until[0] - until[1]) < 600  # an hour's difference would be one of time zones


def test_patience_counts_by_the_order_of_ends_whatever_the_clocks_of_the_machines(store: Store) -> None:
    study = create_study(store, budget={"trials": 20, "patience": 3})
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    assert worker.finish(claim, 0.5)

    def end_elsewhere(count: int) -> None:
        command = [sys.executable, "-c", BEHIND, store.url.reveal(), str(study.study_id), str(count)]
        subprocess.run(command, check=True)

    end_elsewhere(2)
    before = load_progress(store, study.study_id).limit
    end_elsewhere(1)

    assert before is None
    assert load_progress(store, study.study_id).limit == "3 trials ended without a better one"
