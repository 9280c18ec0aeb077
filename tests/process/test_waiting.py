"""Nothing waits without a reason: the run, `hpo status` and Python say what is waited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo, finish, wait_for

# Longer than a worker takes to see a request.
LONG = {"model": {"class": "projects.nets:Valley", "seconds": 0.05}, "epochs": 100}


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def status(here: Hpo, study: str) -> Any:
    return json.loads(here.run("status", study, "--json")[1])


def test_a_run_ends_when_only_paused_trials_are_left_and_goes_on_when_they_are_resumed(here: Hpo) -> None:
    here.study("held", **LONG)
    running = here.start("run", "held.yaml", "--trials", 1)
    wait_for(lambda: here.counts("held") == {"running": 1} and here.trials("held")[0].epochs > 1)

    here.run("pause", "held", 0)
    code, output = finish(running)

    assert code == 0, output
    waiting = "1 trial is paused by request: 'hpo resume held TRIAL' continues one"
    assert f"held waits: {waiting}" in output
    assert here.counts("held") == {"idle": 1}
    assert status(here, "held")["waiting_for"] == waiting
    here.run("resume", "held", 0)
    assert here.run("run", "held.yaml", "--trials", 1)[0] == 0
    assert here.counts("held") == {"complete": 1}


def test_a_run_of_a_paused_study_says_what_it_waits_for(here: Hpo) -> None:
    here.study("paused", **LONG)
    running = here.start("run", "paused.yaml", "--trials", 2, "--slots", 1)
    wait_for(lambda: here.counts("paused") == {"running": 1} and here.trials("paused")[0].epochs > 1)

    here.run("pause", "paused")
    wait_for(lambda: here.counts("paused") == {"idle": 1})
    reason = status(here, "paused")["waiting_for"]
    here.run("resume", "paused")
    code, output = finish(running)

    assert reason == "it is paused: 'hpo resume paused' continues it"
    assert code == 0, output
    assert output.count("study paused waits: it is paused: 'hpo resume paused' continues it") == 1
    assert here.counts("paused") == {"complete": 2}


def test_a_study_that_is_stopped_by_request_ends_without_an_error(here: Hpo) -> None:
    here.study("stopped", **LONG)
    running = here.start("run", "stopped.yaml", "--trials", 2, "--slots", 1)
    wait_for(lambda: here.counts("stopped") == {"running": 1} and here.trials("stopped")[0].epochs > 1)

    here.run("stop", "stopped")
    code, output = finish(running)

    assert code == 0, output
    assert "error" not in output
    assert "stopped was stopped by request; the same command continues it" in output
    assert here.counts("stopped") == {"pruned": 1}


def test_a_study_without_a_worker_says_so(here: Hpo) -> None:
    here.study("alone")
    assert here.run("submit", "alone.yaml")[0] == 0

    assert status(here, "alone")["waiting_for"] == "no worker trains it: 'hpo worker alone' does"
    assert "waits:   no worker trains it" in here.run("status", "alone")[1]
    assert here.run("worker", "alone", "--until-idle")[0] == 0
    assert status(here, "alone")["waiting_for"] is None
