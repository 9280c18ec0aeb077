"""A store is saved, and a study is deleted, while other processes write into it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stores import everything

from hpo.doctor.examination import examine_database
from hpo.queue.studies import StoredStudy
from hpo.results.study import Study
from hpo.service.delete import delete_study
from hpo.store import Store
from hpo.store.backup import back_up, restore

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from projects.stored import add_trial
from hpo.store import Store
with Store.open(sys.argv[1]) as store:
    number = 0
    while True:
        add_trial(store, 1, value=float(number))
        number += 1
        print(number, flush=True)
"""


REPORTER = """
import sys, time
from hpo.queue.claim import claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.report import begin_trial, report_epoch
from hpo.store import Store
from hpo.worker.outbox import Outbox

with Store.open(sys.argv[1]) as store:
    me = register_worker(store, host="here", pid=1, slots=1)
    outbox, dropped = Outbox(store), set()
    claims = [claim_trial(store, int(sys.argv[2]), worker_id=me, slot=0, device="cpu") for _ in range(4)]
    for claim in claims:
        with store.write() as connection:
            begin_trial(connection, claim, params={}, config={"params": {}})

    def report(claim, epoch):
        outbox.put(
            lambda connection: report_epoch(
                connection, claim, epoch=epoch, value=0.5, metrics={}, seconds=1.0, system_attributes={}
            ),
            then=lambda is_ours: is_ours or dropped.add(claim.number),
        )

    print("begun", flush=True)
    epoch = 0
    while len(dropped) < len(claims):
        epoch += 1
        for claim in (claims if epoch % 2 else reversed(claims)):
            report(claim, epoch)
        outbox.flush()
        time.sleep(0.005)
    assert claim_trial(store, int(sys.argv[2]), worker_id=me, slot=0, device="cpu") is None
    print("dropped", *sorted(dropped))
"""


@contextmanager
def being_written(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process adds trials to the first study without a pause."""
    command = [sys.executable, "-c", WRITER, store.url.reveal(), str(Path(__file__).parents[1])]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        writer.stdout.readline()
        yield writer
    finally:
        writer.kill()
        writer.communicate()


def test_a_backup_of_a_store_that_is_being_written_is_whole(
    store: Store, study: StoredStudy, client_programs: None, tmp_path: Path
) -> None:
    with being_written(store) as writer:
        backups = [tmp_path / f"{number}.backup" for number in range(3)]
        made = [back_up(store.url, backup) for backup in backups]
        assert writer.poll() is None

    assert 0 < made[0].trials < made[1].trials < made[2].trials
    for contents in made:
        restore(store.url, contents.path, force=True)
        rows = everything(store)
        assert [rows[name] for name in ("trials", "trial_values", "hpo_trials")] == [contents.trials] * 3
        assert [record.value for record in Study(store, "synthetic").trials()] == [*map(float, range(contents.trials))]
        assert [finding.what for finding in examine_database(store.url) if finding.level != "ok"] == []


def test_workers_that_write_at_this_moment_drop_their_trials_and_leave_no_row(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    command = [sys.executable, "-c", REPORTER, store.url.reveal(), str(study.study_id)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
    time.sleep(0.5)

    deleted = delete_study(store, "synthetic", artifacts=artifacts, force=True)

    ends = [worker.communicate(timeout=60) for worker in workers]
    assert deleted.trials == 8
    assert [worker.returncode for worker in workers] == [0, 0], ends
    assert sorted(number for out, _ in ends for number in out.split()[1:]) == list("01234567")
    assert all(count == 0 for count in everything(store).values())
