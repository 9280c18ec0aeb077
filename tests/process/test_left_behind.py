"""Processes that end with others, and those that do not: the fork server, signals to all, daemons of trials."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest
from projects.launch import Hpo, descendants, finish, wait_for

from hpo.results.study import Study
from hpo.store import Store


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def trained_epochs(hpo: Hpo, study: str) -> list[list[int]]:
    """Of each trial."""
    return [[epoch for epoch, _ in record.curve] for record in hpo.trials(study)]


@pytest.mark.parametrize("killed", [1, 2])
def test_a_fork_server_that_dies_is_started_again_and_its_trials_count_as_preempted(hpo: Hpo, killed: int) -> None:
    """The study's, and the worker's too, which it was forked from."""
    model = {"class": "projects.nets:Line", "seconds": 0.3}
    file = hpo.study("weather", model=model, epochs=8, budget={"trials": 3}, retries={"crash": 0})
    run = hpo.start("run", file, "--slots", 2)
    wait_for(lambda: sum(record.epochs > 1 for record in hpo.trials("weather")) == 2)
    [server] = psutil.Process(run.pid).children()
    for process in [*server.children(), server][:killed]:
        process.kill()
    code, output = finish(run)

    assert code == 0, output
    assert "another is started" in output
    assert "Traceback" not in output
    records = hpo.trials("weather")
    assert [record.state for record in records] == ["complete"] * 3
    ends = [(cause or "").partition(":")[0] for record in records for cause in record.causes]
    assert sorted(ends) == ["complete"] * 3 + ["preempted"] * 2
    assert trained_epochs(hpo, "weather") == [list(range(1, 9))] * 3


def test_a_sigterm_to_every_process_drains_as_one_to_the_worker_does(hpo: Hpo) -> None:
    """As Slurm and systemd send it; the processes of data loaders get it too."""
    model = {"class": "projects.nets:Line", "seconds": 0.3}
    file = hpo.study("weather", model=model, data="projects.nets:Loaded", epochs=12, budget={"trials": 2})
    run = hpo.start("run", file, "--slots", 2)
    wait_for(lambda: [record.epochs > 0 for record in hpo.trials("weather")] == [True, True])
    for process in [*descendants(run), psutil.Process(run.pid)]:
        process.send_signal(signal.SIGTERM)
    code, output = finish(run)
    between = hpo.trials("weather")
    again, later = hpo.run("run", file, "--slots", 2)

    assert (code, again) == (130, 0), (output, later)
    assert "another is started" not in output
    assert [record.state for record in between] == ["idle", "idle"], output
    records = hpo.trials("weather")
    assert [(record.state, record.attempts) for record in records] == [("complete", 2)] * 2
    with Store.open(hpo.url) as store:
        attempts = [Study(store, "weather").attempts(number) for number in range(2)]
    for before, own in zip(between, attempts, strict=True):
        assert own[1].from_epoch == before.epochs  # no epoch is trained twice


@pytest.mark.parametrize("execs", [True, False])
def test_a_daemon_that_a_trial_leaves_behind_ends_with_its_process(hpo: Hpo, *, execs: bool) -> None:
    model = {"class": "projects.mishaps:Daemons", "folder": str(hpo.folder), "execs": execs}
    code, output = hpo.run("run", hpo.study("daemons", model=model, epochs=3, budget={"trials": 2}))

    assert code == 0, output
    daemon = int((hpo.folder / f"daemon-{execs}").read_text(encoding="ascii"))
    wait_for(lambda: not psutil.pid_exists(daemon) or psutil.Process(daemon).status() == psutil.STATUS_ZOMBIE)
