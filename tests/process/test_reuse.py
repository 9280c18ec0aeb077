"""Consecutive trials in one process, as long as none leaves anything behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo, trial_processes, wait_for
from projects.service import invoke, running, submit

from hpo.ipc.fork_server import ForkServer

LEAVER = "projects.nets:Leaver"


class Service(Hpo):
    """The command line, and a worker of one slot that trains what is submitted: it imports torch once for all tests."""

    worker: subprocess.Popen[str]


@pytest.fixture(scope="module")
def hpo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("reuse")
    hpo = Service(folder, f"sqlite:///{folder}/hpo.db")
    with running(hpo, "worker", "--slots", 1) as hpo.worker:
        yield hpo


def train(hpo: Hpo, server: ForkServer, name: str, **keys: Any) -> None:
    """Have a study trained to its end."""
    plain: dict[str, Any] = {"model": LEAVER, "budget": {"trials": 4}, "space": {"leaves": "nothing"}}
    study = plain | keys
    submit(hpo, hpo.study(name, **study), server)
    wait_for(lambda: has_ended(hpo, name, study["budget"]["trials"]))


def has_ended(hpo: Hpo, name: str, trials: int) -> bool:
    counts = hpo.counts(name)
    return counts.keys() <= {"complete", "failed"} and sum(counts.values()) == trials


def processes(hpo: Hpo, name: str) -> list[int]:
    """Of each trial, in the order of their numbers."""
    logs = sorted((hpo.folder / "art").glob(f"{name}-*/*/log.txt"))
    return [int(re.findall(r"process (\d+)", log.read_text())[-1]) for log in logs]


def curves(hpo: Hpo, name: str) -> list[list[float]]:
    return [[metrics["val_loss"] for _, metrics in record.curve] for record in hpo.trials(name)]


def test_trials_in_a_shared_process_reach_the_same_values_as_in_separate_ones(hpo: Service, server: ForkServer) -> None:
    train(hpo, server, "together")
    train(hpo, server, "apart", reuse_processes=False)

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
        ("tf32", "float32 precision (TF32) changed"),
    ],
)
def test_a_process_that_has_changed_takes_no_other_trial_and_logs_the_reason(
    hpo: Service, server: ForkServer, leaves: str, reason: str
) -> None:
    train(hpo, server, leaves, space={"leaves": leaves}, budget={"trials": 3})

    assert len(set(processes(hpo, leaves))) == 3
    for log in (hpo.folder / "art").glob(f"{leaves}-*/*/log.txt"):
        assert f"not reused for another trial, because {reason}" in log.read_text()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("projects.threaded:Threaded", r"start threads \(sentinel\), which do not survive a fork"),
        (
            "projects.early_cuda:Early",
            r"use CUDA, which does not survive a fork: \S+/early_cuda.py, line \d+: torch.cuda.init\(\)",
        ),
    ],
)
def test_trials_of_modules_that_cannot_be_forked_share_a_process_and_the_log_names_the_reason(
    model: str, reason: str, tmp_path: Path
) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    study = hpo.study("unforkable", model=model, budget={"trials": 4}, space={"leaves": "nothing"})

    code, output = hpo.run("run", study, "--slots", 1)

    assert code == 0, output
    assert len(set(processes(hpo, "unforkable"))) == 1  # what importing them changed is no reason against it
    assert re.search(rf"imports {model} and \S+ anew, which takes longer: these imports {reason}", output), output


def test_a_study_that_chooses_tf32_as_it_is_imported_trains_all_of_its_trials_in_one_process(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    study = hpo.study("tf32", model="projects.with_tf32:Rounding", budget={"trials": 3}, space={"leaves": "nothing"})

    code, output = hpo.run("run", study, "--slots", 1)

    assert code == 0, output
    assert hpo.counts("tf32") == {"complete": 3}
    assert len(set(processes(hpo, "tf32"))) == 1


def test_a_process_whose_memory_grows_takes_no_other_trial_for_long(hpo: Service, server: ForkServer) -> None:
    train(hpo, server, "memory", space={"leaves": "memory"}, budget={"trials": 4})

    first, _, third, fourth = processes(hpo, "memory")
    assert first == third != fourth


def test_a_process_whose_trial_failed_takes_no_other(hpo: Service, server: ForkServer) -> None:
    space = {"does": ["learn", "raise"], "lr": 0.01}
    train(hpo, server, "failing", model="projects.nets:Sometimes", space=space, sampler="grid", budget={"trials": 2})

    assert hpo.counts("failing") == {"complete": 1, "failed": 1}


def test_a_process_killed_between_two_trials_fails_neither(tmp_path: Path, server: ForkServer) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    study = hpo.study("waiting", model=LEAVER, budget={"trials": 1}, space={"leaves": "nothing"})
    submit(hpo, study, server)
    with running(hpo, "worker", "waiting", "--slots", 1) as worker:  # a named study that is over keeps its processes
        wait_for(lambda: has_ended(hpo, "waiting", 1))
        [first] = processes(hpo, "waiting")
        assert not trial_processes(worker)  # it waits, and writes into no trial's log

        os.kill(first, signal.SIGKILL)
        assert invoke(hpo, "set", "waiting", "trials=3")[0] == 0
        wait_for(lambda: has_ended(hpo, "waiting", 3))

    assert first not in processes(hpo, "waiting")[1:]
    assert [(record.state, record.attempts) for record in hpo.trials("waiting")] == [("complete", 1)] * 3


def test_a_process_that_gets_no_further_trial_ends(hpo: Service, server: ForkServer) -> None:
    train(hpo, server, "over", budget={"trials": 1})
    [process] = processes(hpo, "over")

    wait_for(lambda: not Path(f"/proc/{process}").exists())
    assert hpo.worker.poll() is None
