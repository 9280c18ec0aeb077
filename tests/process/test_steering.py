"""Pausing, ending and changing running studies: the command line beside a worker that waits for studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo, wait_for
from projects.service import invoke, running, submit
from sqlalchemy import select
from stores import ask_study

from hpo.ipc.fork_server import ForkServer
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.tables import hpo_attempts, trials

SLOW = {"class": "projects.nets:Line", "seconds": 0.3}  # an epoch


class Steered(Hpo):
    """The command line, and how far the trials of its worker are."""

    def invoke(self, *arguments: object) -> tuple[int, str]:
        return invoke(self, *arguments)

    def facts(self, study: str) -> list[tuple[int, str, int]]:
        return [(record.number, record.state, record.attempts) for record in self.trials(study)]

    def is_training(self, study: str, count: int) -> Callable[[], bool]:
        """Whether so many trials have an epoch behind them and go on."""
        return lambda: sum(r.state == "running" and r.epochs > 0 for r in self.trials(study)) == count

    def rests(self, study: str) -> Callable[[], bool]:
        """Whether nobody trains for it."""
        return lambda: "running" not in self.counts(study)


@pytest.fixture(scope="module")
def hpo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steered]:
    folder = tmp_path_factory.mktemp("steering")
    hpo = Steered(folder, f"sqlite:///{folder}/hpo.db")
    with running(hpo, "worker", "--slots", 2):
        yield hpo


@pytest.fixture
def long_study(hpo: Steered, server: ForkServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a study whose trials last for long, and of which two train."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    submit(hpo, hpo.study(name, model=SLOW, epochs=100, budget={"trials": 40}), server)
    wait_for(hpo.is_training(name, 2))
    yield name
    with Store.open(hpo.url) as store:
        ask_study(store, name, "kill")


def test_a_paused_study_claims_nothing_and_resumes_where_it_was(
    hpo: Steered, server: ForkServer, long_study: str
) -> None:
    code, output = hpo.invoke("pause", long_study)
    wait_for(hpo.rests(long_study))
    before_resume = hpo.trials(long_study)
    counts = hpo.counts(long_study)
    again = hpo.invoke("pause", long_study)
    submit(hpo, hpo.study("in between", budget={"trials": 6}), server)
    wait_for(lambda: hpo.counts("in between") == {"complete": 6})  # the slots are free for others
    still_held = hpo.facts(long_study)
    _, status = hpo.invoke("status", long_study)
    resumed, _ = hpo.invoke("resume", long_study)
    wait_for(lambda: hpo.is_training(long_study, 2)() and all(r.attempts == 2 for r in hpo.trials(long_study)))
    wait_for(
        lambda: all(now.epochs > then.epochs for now, then in zip(hpo.trials(long_study), before_resume, strict=True))
    )

    assert (code, output) == (0, f"study {long_study} is paused: running trials are saved after their epoch\n")
    assert (again, resumed) == ((code, output), 0)
    assert counts == {"idle": 2}
    assert still_held == [(0, "idle", 1), (1, "idle", 1)]
    assert f"{long_study}: paused (by request)" in " ".join(status.split())
    for before, after in zip(before_resume, hpo.trials(long_study), strict=True):
        assert before.causes == ("paused: handed back by its worker",)
        assert (after.params, after.curve[: before.epochs]) == (before.params, before.curve)
        assert [epoch for epoch, _ in after.curve] == list(range(1, after.epochs + 1))
        assert from_epochs(hpo, long_study, after.number) == [0, before.epochs]


def from_epochs(hpo: Hpo, study: str, number: int) -> list[int | None]:
    """For each attempt, the epoch after which it went on."""
    with Store.open(hpo.url) as store, store.read() as connection:
        wanted = (trials.c.study_id == Study(store, study)._study_id) & (trials.c.number == number)
        chosen = select(hpo_attempts.c.from_epoch).join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        return list(connection.scalars(chosen.where(wanted).order_by(hpo_attempts.c.number)))


def test_a_stopped_study_keeps_its_values_and_leaves_nothing_running(hpo: Steered, long_study: str) -> None:
    code, output = hpo.invoke("stop", long_study)
    wait_for(hpo.rests(long_study))
    again = hpo.invoke("stop", long_study)
    _, status = hpo.invoke("status", long_study)

    assert (code, output) == (0, f"study {long_study} ends after the current epochs\n") == again
    assert hpo.counts(long_study) == {"pruned": 2}
    assert f"{long_study}: stopped (by request)" in " ".join(status.split())
    for record in hpo.trials(long_study):
        assert (record.cause, record.attempts) == ("stopped: by request", 1)
        assert record.value == record.curve[-1][1]["val_loss"]


def test_a_killed_study_fails_its_running_trials(hpo: Steered, long_study: str) -> None:
    code, output = hpo.invoke("kill", long_study)
    wait_for(hpo.rests(long_study))
    again = hpo.invoke("kill", long_study)
    _, status = hpo.invoke("status", long_study)

    assert (code, output) == (0, f"study {long_study} ends now\n") == again
    assert hpo.counts(long_study) == {"failed": 2}
    assert {record.cause for record in hpo.trials(long_study)} == {"killed: by request"}
    assert f"{long_study}: killed (by request)" in " ".join(status.split())


def test_a_request_for_one_trial_affects_only_that_one(hpo: Steered, long_study: str) -> None:
    killed, output = hpo.invoke("kill", long_study, 0)
    wait_for(lambda: hpo.trials(long_study)[0].state == "failed")
    late = hpo.invoke("kill", long_study, 0)
    wait_for(lambda: len(hpo.trials(long_study)) == 3 and hpo.is_training(long_study, 2)())
    stopped, _ = hpo.invoke("stop", long_study, 1)
    wait_for(lambda: hpo.trials(long_study)[1].state == "pruned")
    wait_for(lambda: len(hpo.trials(long_study)) == 4 and hpo.is_training(long_study, 2)())
    paused, _ = hpo.invoke("pause", long_study, 2)
    wait_for(lambda: hpo.trials(long_study)[2].state == "idle")
    wait_for(lambda: len(hpo.trials(long_study)) == 5 and hpo.is_training(long_study, 2)())
    between = hpo.facts(long_study)
    hpo.invoke("kill", long_study, 3)
    hpo.invoke("resume", long_study, 2)
    wait_for(lambda: hpo.trials(long_study)[2].attempts == 2)

    assert (killed, stopped, paused) == (0, 0, 0)
    assert output == f"trial 0 of study {long_study} ends now\n"
    assert late == (2, f"error: trial 0 of study '{long_study}' has ended already (failed)\n")
    assert between == [(0, "failed", 1), (1, "pruned", 1), (2, "idle", 1), (3, "running", 1), (4, "running", 1)]
    records = hpo.trials(long_study)
    assert [record.cause for record in records[:3]] == ["killed: by request", "stopped: by request", None]


def test_a_study_that_has_all_its_trials_is_given_more(hpo: Steered, server: ForkServer) -> None:
    submit(hpo, hpo.study("grown", budget={"trials": 2, "hours": 5}), server)
    wait_for(lambda: hpo.counts("grown") == {"complete": 2})

    code, output = hpo.invoke("set", "grown", "trials=+2", "hours=none", "priority=2")
    wait_for(lambda: hpo.counts("grown") == {"complete": 4})

    assert (code, output) == (0, "study grown: trials 4, priority 2\n")
    assert [record.number for record in hpo.trials("grown")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("model", "again", "end"),
    [
        (
            {"class": "projects.mishaps:Unlucky", "folder": "FOLDER"},
            {"budget": {"stall_minutes": 0.02}, "retries": {"stalled": 0}},
            ("failed", "stalled", 1),
        ),
        (SLOW, {"budget": {"trial_minutes": 0.01}}, ("pruned", "over time: 0.01 minutes", 1)),
    ],
    ids=["stall_minutes and retries", "trial_minutes"],
)
def test_a_study_that_is_submitted_again_has_its_new_bounds(
    hpo: Steered, server: ForkServer, tmp_path: Path, model: dict[str, str], again: dict[str, Any], end: object
) -> None:
    """By the workers that train it meanwhile, from their next look on."""
    name = f"again {model['class'].partition(':')[2]}"
    keys = {"model": {**model, "folder": str(tmp_path)} if "folder" in model else model, "epochs": 1000}
    keys |= {"space": {"does": ["hang"], "lr": 0.01}} if "folder" in model else {}
    budget = {"trials": 1}
    submit(hpo, hpo.study(name, **keys, budget=budget), server)
    wait_for(
        lambda: hpo.counts(name) == {"running": 1} and (hpo.is_training(name, 1)() or list(tmp_path.iterdir())),
        seconds=90,
    )

    submit(hpo, hpo.study(name, **keys, **{**again, "budget": budget | again["budget"]}), server)
    wait_for(hpo.rests(name))

    [record] = hpo.trials(name)
    assert (record.state, record.cause, record.attempts) == end


def test_a_worker_ends_idle_trials_when_the_target_is_lowered(hpo: Steered, server: ForkServer) -> None:
    submit(hpo, hpo.study("fewer", model=SLOW, epochs=12, budget={"trials": 3}), server)
    wait_for(lambda: hpo.is_training("fewer", 2)())
    hpo.invoke("pause", "fewer", 0)
    wait_for(lambda: hpo.trials("fewer")[0].state == "idle")

    code, output = hpo.invoke("set", "fewer", "trials=1")
    wait_for(lambda: "idle" not in hpo.counts("fewer") and "running" not in hpo.counts("fewer"))

    assert code == 0
    assert output.startswith("study fewer: trials 1, priority 1. ")
    assert "have begun already" in output
    records = hpo.trials("fewer")
    assert (records[0].state, records[0].cause) == (
        "pruned", "stopped: the study has its one trial"
    )  # fmt: skip
    assert {record.state for record in records[1:]} == {"complete"}  # who trained is not disturbed
