"""What an engine that runs workers can rely on: exit codes, signals, limits of time and cores, health, environment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from projects.launch import Hpo, descendants, finish, left_of, trial_processes, wait_for

SLOW = {"class": "projects.nets:Telling", "seconds": 0.5}  # an epoch
EPOCHS = 12


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def submit(hpo: Hpo, trials: int = 1, name: str = "s", **keys: object) -> None:
    file = hpo.study(name, **{"model": SLOW, "epochs": EPOCHS, **keys})
    code, output = hpo.run("submit", file, "--trials", trials)
    assert code == 0, output


def begun(hpo: Hpo) -> bool:
    """A trial has trained some epochs."""
    return any(len(trial.curve) > 1 for trial in hpo.trials("s"))


def signalled(worker: subprocess.Popen[str], number: int, *, whole_job: bool) -> None:
    for below in descendants(worker) if whole_job else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            below.send_signal(number)
    worker.send_signal(number)


@pytest.mark.parametrize("whole_job", [False, True], ids=["worker", "job"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_signal_hands_trials_back_without_losing_an_epoch(hpo: Hpo, number: int, whole_job: bool) -> None:
    submit(hpo)
    worker = hpo.start("worker", "s", "--until-idle")
    wait_for(lambda: begun(hpo))

    signalled(worker, number, whole_job=whole_job)
    code, output = finish(worker)
    assert code == 75, output
    assert "handing back 1 running trial after" in output
    code, output = hpo.run("worker", "s", "--until-idle")

    assert code == 0, output
    [trial] = hpo.trials("s")
    assert (trial.state, trial.attempts) == ("complete", 2)
    trained = [line for line in hpo.run("logs", "s", 0)[1].splitlines() if line.startswith("trained epoch")]
    assert trained == [f"trained epoch {epoch}" for epoch in range(1, EPOCHS + 1)]  # each once


def test_a_worker_without_work_ends_well_when_it_is_asked_to(hpo: Hpo) -> None:
    submit(hpo, epochs=1)
    assert hpo.run("worker", "--until-idle")[0] == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = hpo.start("worker", "--health", port)
    wait_for(lambda: ask(port, "ready")[0] == 200)

    worker.terminate()

    code, output = finish(worker)
    assert code == 0, output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent"], "the store has no study 'absent'"),
        (["--max-seconds", "5"], "so that no time is left to train"),
        (["--health", "web"], "should be a port"),
        (["--health", "127.0.0.1:99999"], "should be a port"),
        (["--cores", "0"], "--cores"),
    ],
)
def test_a_mistake_is_told_by_its_exit_code(hpo: Hpo, words: list[str], message: str) -> None:
    submit(hpo)

    code, output = hpo.run("worker", "--until-idle", *words)

    assert code == 2, output
    assert message in output
    assert "Traceback" not in output


def test_a_store_that_does_not_answer_may_be_tried_again(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hpo = Hpo(tmp_path, f"postgresql://me:secretly@127.0.0.1:{closed.getsockname()[1]}/hpo")

        code, output = hpo.run("worker", "--until-idle")

    assert code == 75, output
    assert "cannot be used" in output
    assert "secretly" not in output


def test_trials_are_handed_back_before_the_time_is_up(hpo: Hpo) -> None:
    submit(hpo, epochs=100)
    started = time.monotonic()

    code, output = hpo.run("worker", "s", "--until-idle", "--max-seconds", 30, "--drain-seconds", 10)

    assert code == 75, output
    assert "the time limit is near: handing back 1 running trial" in output
    assert time.monotonic() - started > 20  # within 30 s, on a machine that is not busy
    [trial] = hpo.trials("s")
    assert trial.state == "idle"


def test_a_drain_lasts_as_long_as_it_may(hpo: Hpo) -> None:
    submit(hpo, model={"class": "projects.nets:Line", "seconds": 8.0})
    worker = hpo.start("worker", "s", "--drain-seconds", 1)
    wait_for(lambda: trial_processes(worker))

    worker.terminate()
    code, output = finish(worker, timeout=60)

    assert code == 75, output
    assert [trial.state for trial in hpo.trials("s")] == ["idle"]


def test_cores_that_an_engine_grants_are_the_slots(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment={"HPO_CORES": "3", "HPO_UNTIL_IDLE": "1"})
    submit(hpo, trials=4, epochs=4, model={"class": "projects.nets:Line", "seconds": 0.1})

    code, output = hpo.run("worker")

    assert code == 0, output
    assert {f"slot {number}" for number in range(3)} == {
        f"slot {number}" for number in range(9) if f"on slot {number}" in output
    }


def test_a_worker_drains_when_its_parent_has_exited(hpo: Hpo, tmp_path: Path) -> None:
    submit(hpo)
    command = ["worker", "s", "--end-with-parent", *hpo._options()]
    text = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(600)"
    parent = subprocess.Popen(
        [sys.executable, "-c", text, sys.executable, "-m", "hpo", *command],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env=hpo._environment,
        text=True,
    )
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    wait_for(lambda: begun(hpo))

    parent.kill()
    parent.communicate()

    assert left_of([worker]) == []
    assert [trial.state for trial in hpo.trials("s")] == ["idle"]  # handed back, not lost


def ask(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def test_a_worker_tells_whether_it_is_alive_and_ready(hpo: Hpo) -> None:
    submit(hpo)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = hpo.start("worker", "s", "--health", port)

    status, state = wait_for(lambda: found if (found := ask(port, "live"))[0] else None)
    assert status == 200
    assert state["live"] is True
    wait_for(lambda: ask(port, "ready")[0] == 200 and ask(port, "ready")[1]["trials"])
    assert ask(port, "ready")[1]["studies"] == ["s"]
    assert ask(port, "other")[0] == 404
    worker.terminate()
    wait_for(lambda: ask(port, "ready")[0] in (503, 0))
    assert finish(worker)[0] == 75


def test_two_workers_cannot_answer_at_one_port(hpo: Hpo) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        code, output = hpo.run("worker", "--health", taken.getsockname()[1])

    assert code == 2, output
    assert "Address already in use" in output


def test_trials_do_not_see_what_an_engine_sets(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment={"RAY_ADDRESS": "127.0.0.2:6379", "PBS_JOBID": "7"})
    submit(hpo)
    worker = hpo.start("worker", "s")
    [trial, *_] = wait_for(lambda: trial_processes(worker))

    variables = trial.environ()

    worker.terminate()
    finish(worker)
    assert "RAY_ADDRESS" in os.environ or "RAY_ADDRESS" not in variables
    assert not {"RAY_ADDRESS", "PBS_JOBID"} & set(variables)
