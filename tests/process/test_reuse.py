"""Consecutive trials in one process, as long as none leaves anything behind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from projects.launch import Hpo, finish, trial_processes, wait_for

LEAVER = "projects.nets:Leaver"


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def train(hpo: Hpo, name: str, **keys: object) -> str:
    """Run on one slot, to the end; its output."""
    plain: dict[str, object] = {"model": LEAVER, "budget": {"trials": 4}, "space": {"leaves": "nothing"}}
    study = hpo.study(name, **(plain | keys), resources={"accelerator": "cpu", "slots": 1})
    code, output = hpo.run("run", study)
    assert code == 0, output
    return output


def processes(hpo: Hpo, name: str) -> list[int]:
    """Of each trial, in the order of their numbers."""
    logs = sorted((hpo.folder / "art").glob(f"{name}-*/*/log.txt"))
    return [int(re.findall(r"process (\d+)", log.read_text())[-1]) for log in logs]


def curves(hpo: Hpo, name: str) -> list[list[float]]:
    return [[metrics["val_loss"] for _, metrics in record.curve] for record in hpo.trials(name)]


def test_trials_in_a_shared_process_reach_the_same_values_as_in_separate_ones(hpo: Hpo) -> None:
    train(hpo, "together")
    train(hpo, "apart", reuse_processes=False)

    assert len(set(processes(hpo, "together"))) == 1
    assert len(set(processes(hpo, "apart"))) == 4
    assert curves(hpo, "together") == curves(hpo, "apart")


@pytest.mark.parametrize(
    ("leaves", "reason"),
    [
        ("environment", "os.environ changed"),
        ("thread", "a thread still runs"),
        ("child", "a child process still runs"),
        ("dtype", "torch's default dtype changed"),
        ("filter", "the warnings' filters changed"),
        ("global", "projects.nets.LEFT changed"),
        ("list", "projects.nets.ALL_LEFT changed"),
        ("attribute", "projects.nets.Leaver.left changed"),
    ],
)
def test_a_process_that_has_changed_takes_no_other_trial_and_logs_the_reason(
    hpo: Hpo, leaves: str, reason: str
) -> None:
    train(hpo, "leaver", space={"leaves": leaves}, budget={"trials": 3})

    assert len(set(processes(hpo, "leaver"))) == 3
    for log in (hpo.folder / "art").glob("leaver-*/*/log.txt"):
        assert f"not reused for another trial, because {reason}" in log.read_text()


def test_trials_of_modules_that_cannot_be_forked_share_a_process_and_the_log_names_the_reason(
    hpo: Hpo,
) -> None:
    output = train(hpo, "threaded", model="projects.threaded:Threaded")

    assert len(set(processes(hpo, "threaded"))) == 1  # what importing them changed is no reason against it
    assert re.search(r"imports projects.threaded:Threaded and \S+ anew, which takes longer: .* \(sentinel\)", output), (
        output
    )


def test_a_process_whose_memory_grows_takes_no_other_trial_for_long(hpo: Hpo) -> None:
    train(hpo, "leaver", space={"leaves": "memory"}, budget={"trials": 4})

    first, _, third, fourth = processes(hpo, "leaver")
    assert first == third != fourth


def test_a_process_whose_trial_failed_takes_no_other(hpo: Hpo) -> None:
    study = hpo.study(
        "failing",
        model="projects.nets:Sometimes",
        space={"does": ["learn", "raise"], "lr": 0.01},
        sampler="grid",
        budget={"trials": 2},
        resources={"accelerator": "cpu", "slots": 1},
    )
    code, output = hpo.run("run", study)

    assert (code, hpo.counts("failing")) == (0, {"complete": 1, "failed": 1}), output


def test_a_process_killed_between_two_trials_fails_neither(hpo: Hpo) -> None:
    study = hpo.study(
        "waiting",
        model=LEAVER,
        space={"leaves": "nothing"},
        budget={"trials": 1},
        resources={"accelerator": "cpu", "slots": 1},
    )
    assert hpo.run("submit", study)[0] == 0
    worker = hpo.start("worker", "waiting", "--slots", "1")
    wait_for(lambda: hpo.counts("waiting") == {"complete": 1})
    [first] = processes(hpo, "waiting")
    assert not trial_processes(worker)  # it waits, and writes into no trial's log

    os.kill(first, signal.SIGKILL)
    assert hpo.run("set", "waiting", "trials=3")[0] == 0
    wait_for(lambda: hpo.counts("waiting") == {"complete": 3})
    worker.send_signal(signal.SIGTERM)
    finish(worker)

    assert first not in processes(hpo, "waiting")[1:]
    assert [record.attempts for record in hpo.trials("waiting")] == [1, 1, 1]


def test_a_process_that_gets_no_further_trial_ends(hpo: Hpo) -> None:
    assert hpo.run("submit", hpo.study("over", model=LEAVER, space={"leaves": "nothing"}, budget={"trials": 1}))[0] == 0
    worker = hpo.start("worker", "over", "--slots", "1")
    wait_for(lambda: hpo.counts("over") == {"complete": 1})
    [process] = processes(hpo, "over")

    wait_for(lambda: not Path(f"/proc/{process}").exists())
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    finish(worker)
