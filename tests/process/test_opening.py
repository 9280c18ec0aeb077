"""Workers that start together on an empty store all find it usable, on each database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROCESSES = 4
ROUNDS = 20

# Optuna and alembic are imported beforehand, so that the processes meet in the database, not in the imports
WORKER = """
import json, pathlib, sys, time, traceback
import alembic.command, optuna
from hpo.store import Store, tables
from sqlalchemy import insert, select, func

me, processes, folder, urls = json.loads(sys.argv[1])
for round, url in enumerate(urls):
    pathlib.Path(folder, f"{round}-{me}").touch()
    while not all(pathlib.Path(folder, f"{round}-{other}").exists() for other in range(processes)):
        time.sleep(0.0005)
    try:
        with Store.create(url) as store:
            with store.write() as connection:
                connection.execute(insert(tables.studies).values(study_name=f"by {me}"))
            with Store.open(url) as again, again.read() as connection:
                connection.execute(select(func.count()).select_from(tables.hpo_attempts)).one()
    except BaseException:
        print(f"round {round}:", traceback.format_exc())
"""


def test_four_processes_open_an_empty_store_at_once_twenty_times_of_twenty(
    new_store_url: Callable[[], str], tmp_path: Path
) -> None:
    barrier = tmp_path / "barrier"
    barrier.mkdir()
    urls = [new_store_url() for _ in range(ROUNDS)]

    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps([number, PROCESSES, str(barrier), urls])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        failures = [worker.communicate(timeout=300)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()

    assert failures == [""] * PROCESSES
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
