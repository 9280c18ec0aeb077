"""A store that is deleted, replaced or restored under a run: it ends in words, and what it had is saved."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from projects.launch import Hpo, finish, wait_for

from hpo.results.study import Study
from hpo.store import Store


def started(hpo: Hpo) -> subprocess.Popen[str]:
    """A run of many trials, of which some have ended."""
    model = {"class": "projects.nets:Line", "seconds": 0.2}
    file = hpo.study("weather", model=model, epochs=3, budget={"trials": 200})
    run = hpo.start("run", file, "--slots", 2)
    wait_for(lambda: hpo.counts("weather").get("complete", 0) > 2)
    return run


@pytest.mark.parametrize("what", ["was deleted", "was replaced by another file"])
def test_a_store_that_is_deleted_or_replaced_ends_the_run_and_a_copy_has_all_results(tmp_path: Path, what: str) -> None:
    path = tmp_path / "hpo.db"
    hpo = Hpo(tmp_path, f"sqlite:///{path}", environment={"HPO_TIMING": "heartbeat=1,lease=4"})
    run = started(hpo)
    before = hpo.counts("weather")["complete"]
    if what == "was deleted":
        path.unlink()
    else:
        with Store.create(f"sqlite:///{tmp_path}/other.db"):
            pass
        (tmp_path / "other.db").replace(path)
    code, output = finish(run)

    assert code == 2, output
    assert what in output
    assert "Traceback" not in output
    [copy] = tmp_path.glob("hpo.db.rescued-*")
    assert str(copy) in re.sub(r"\s", "", output)
    with Store.open(f"sqlite:///{copy}") as store:
        records = Study(store, "weather").trials()
    assert sum(record.state == "complete" for record in records) >= before
    assert {record.state for record in records} <= {"complete", "idle"}


def test_an_older_copy_that_is_written_over_the_store_ends_the_run_in_words(tmp_path: Path) -> None:
    path = tmp_path / "hpo.db"
    hpo = Hpo(tmp_path, f"sqlite:///{path}", environment={"HPO_TIMING": "heartbeat=1,lease=4"})
    with Store.create(hpo.url):
        pass
    with closing(sqlite3.connect(path)) as store, closing(sqlite3.connect(tmp_path / "old.db")) as copy:
        store.backup(copy)
    run = started(hpo)
    with closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is not in the file yet would repair it
    shutil.copyfile(tmp_path / "old.db", path)
    code, output = finish(run)

    assert code == 2, output
    assert "older copy" in output or "damaged" in output
    assert "Traceback" not in output
    assert "sqlalchemy" not in output.lower()
