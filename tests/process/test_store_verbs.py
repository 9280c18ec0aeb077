"""`hpo doctor` and `hpo db` as commands: their answers and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from projects.launch import Hpo
from projects.stored import add_attempt, add_trial, add_worker
from sqlalchemy import update

from hpo.doctor.examination import examine
from hpo.queue.studies import StoredStudy
from hpo.store import Store, StoreUrl
from hpo.store.backup import restore
from hpo.store.tables import hpo_trials


def hpo(*arguments: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `hpo ARGUMENTS`."""
    done = subprocess.run(
        [sys.executable, "-m", "hpo", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


# ---- hpo db


@pytest.fixture
def filled(store: Store, study: StoredStudy, client_programs: None) -> Store:
    """A store with five complete trials."""
    for number in range(5):
        add_trial(store, study, value=float(number))
    return store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.backup"


def test_two_backups_at_once_leave_one_whole_file(filled: Store, file: Path) -> None:
    command = [sys.executable, "-m", "hpo", "db", "backup", str(file), "--store", filled.url.reveal()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    answers = [process.communicate(timeout=300) for process in both]

    assert sorted(process.returncode for process in both) == [0, 2], answers
    assert "exists already" in "".join(err for _, err in answers)
    assert restore(filled.url, file, force=True)[0].trials == 5
    assert list(file.parent.iterdir()) == [file]


def test_backup_restore_and_check_answer_in_a_line_and_fail_without_a_traceback(filled: Store, file: Path) -> None:
    store = ("--store", filled.url.reveal())

    assert hpo("db", "backup", file, *store)[:2] == (0, f"{file}: 1 study, 5 trials of {filled.url}\n")
    code, _, error = hpo("db", "restore", file, *store)
    assert (code, error.startswith("error: the store "), "--force" in error) == (2, True, True)
    restored = hpo("db", "restore", file, "--force", *store)
    assert restored[:2] == (0, f"store restored: 1 study, 5 trials in {filled.url}\n")
    assert hpo("db", "check", *store)[0] == 0
    with filled.write() as connection:
        connection.execute(update(hpo_trials).values(config="{"))
    code, output, error = hpo("db", "check", *store)
    assert (code, "not valid JSON" in output, "Traceback" in output + error) == (1, True, False)


# ---- hpo doctor


def test_the_verb_reports_problems_with_exit_code_1_and_0_after_the_repair(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store), lease=-5)
    command = ("doctor", "--store", store.url.reveal(), "--artifacts", artifacts)

    looked, mended, again = hpo(*command), hpo(*command, "--repair", "--json"), hpo(*command, "--repair")

    assert looked[0] == 1, looked
    assert "the lease has run out" in " ".join(looked[1].split())
    assert "1 problem" in looked[1]
    assert mended[0] == 0, mended
    document = json.loads(mended[1])
    assert document["healthy"] is True
    assert document["changes"] == ["synthetic: closed 1 expired leases"]
    assert {"level", "about", "where", "what", "remedy", "repairable"} == set(document["findings"][0])
    assert again[0] == 0
    assert "nothing was changed" in again[1]


def test_a_real_run_leaves_no_problems_behind(tmp_path: Path, sqlite_url: str) -> None:
    here = Hpo(tmp_path, sqlite_url)
    here.study("line")
    code, output = here.run("run", "line.yaml", "--trials", 3)
    assert code == 0, output

    findings = examine(StoreUrl.parse(sqlite_url), artifacts=tmp_path / "art")

    assert [found for found in findings if found.level != "ok"] == []
    [counted] = [found for found in findings if found.about == "checkpoints"]
    assert counted.what == "3 of 3 on this machine are intact"


def test_a_store_that_is_not_there_is_a_problem_and_not_created(tmp_path: Path) -> None:
    code, out, err = hpo("doctor", "--store", f"sqlite:///{tmp_path}/hpo.db", "--json")

    assert (code, err) == (1, "")
    problems = [found["what"] for found in json.loads(out)["findings"] if found["level"] == "problem"]
    assert len(problems) == 1
    assert "there is no store" in problems[0]
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_a_problem_reported_without_the_password() -> None:
    code, out, err = hpo("doctor", "--store", "postgresql://me:s3cretword@127.0.0.1:1/runs", "--repair")

    assert code == 1
    assert "cannot be used" in " ".join((out + err).split())
    assert "s3cretword" not in out + err
    assert "Traceback" not in out + err
