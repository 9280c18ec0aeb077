"""Failures of trials and their retries: with real crashes, and the store afterwards."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo, finish, wait_for
from projects.service import running, submit
from sqlalchemy import select

from hpo.ipc.fork_server import ForkServer
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_epochs, trials

EPOCHS = 7
CRASHES_IN = 5  # counted from 0; by then, more than the second has passed after which a state is saved
HANDED_BACK = "preempted: handed back by its worker"


@dataclass(frozen=True)
class Attempt:
    number: int
    kind: str | None
    from_epoch: int | None
    error: str | None


def attempts_of(hpo: Hpo, study: str, number: int) -> list[Attempt]:
    with Store.open(hpo.url) as store, store.read() as connection:
        rows = connection.execute(
            select(hpo_attempts.c.number, hpo_attempts.c.kind, hpo_attempts.c.from_epoch, hpo_attempts.c.error)
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .where(trials.c.study_id == Study(store, study)._study_id, trials.c.number == number)
            .order_by(hpo_attempts.c.number)
        )
        return [Attempt(*row) for row in rows]


def trained_by(hpo: Hpo, study: str, number: int) -> list[tuple[int, int]]:
    """(epoch, number of the attempt that trained it), by epoch."""
    with Store.open(hpo.url) as store, store.read() as connection:
        rows = connection.execute(
            select(hpo_epochs.c.epoch, hpo_epochs.c.attempt)
            .join(trials, trials.c.trial_id == hpo_epochs.c.trial_id)
            .where(trials.c.study_id == Study(store, study)._study_id, trials.c.number == number)
            .order_by(hpo_epochs.c.epoch)
        )
        return [(row.epoch, row.attempt) for row in rows]


# ---- one worker and every mishap, once or always


@dataclass(frozen=True)
class Outcome:
    hpo: Hpo
    code: int
    output: str

    def trial(self, study: str, does: object, *, by: str = "does") -> TrialRecord:
        return next(record for record in self.hpo.trials(study) if record.params[by] == does)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, server: ForkServer) -> Outcome:
    folder = tmp_path_factory.mktemp("retries")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")

    def unlucky(name: str, *does: str, times: int, at: int, seconds: float = 0.0, **keys: Any) -> None:
        marks = folder / name
        marks.mkdir()
        model: dict[str, Any] = {"class": "projects.mishaps:Unlucky", "folder": str(marks)}
        model |= {"seconds": seconds, "at": at, "times": times}
        space = {"does": list(does)}
        budget = {"trials": len(does), **keys.pop("budget", {})}
        file = hpo.study(name, model=model, space=space, budget=budget, epochs=EPOCHS, sampler="grid", **keys)
        submit(hpo, file, server)

    quick_to_tire = {"stall_minutes": 0.1}
    once = ("hang", "killed", "exit", "memory", "raise", "learn")
    unlucky("once", *once, times=1, at=CRASHES_IN, seconds=0.4, budget=quick_to_tire)
    unlucky("never", *once, times=0, at=CRASHES_IN)
    unlucky("at-first", "hang in setup", "killed", times=1, at=0, budget=quick_to_tire)
    bounds = {"crash": 1, "oom": 2, "stalled": 0}
    unlucky("always", "hang", "killed", "memory", times=99, at=0, budget=quick_to_tire, retries=bounds)
    unlucky("forgiven", "raise", times=1, at=CRASHES_IN, retries={"error": 1})
    lasting = {"model": "projects.nets:Line", "space": {"seconds": [0.3, 600.0], "lr": 0.01}, "sampler": "grid"}
    submit(hpo, hpo.study("long", **lasting, epochs=1000, budget={"trials": 2, "trial_minutes": 0.1}), server)
    relapsing = {"class": "projects.mishaps:Relapsing", "folder": str(folder)}
    submit(hpo, hpo.study("relapsed", model=relapsing, epochs=9, budget={"trials": 1, "trial_minutes": 0.25}), server)
    code, output = finish(hpo.start("worker", "--until-idle", "--slots", 4), timeout=600)
    return Outcome(hpo, code, output)


def test_a_worker_outlives_every_mishap_and_leaves_nothing_running(outcome: Outcome) -> None:
    assert outcome.code == 0, outcome.output
    assert outcome.hpo.counts("once") == {"complete": 5, "failed": 1}
    assert outcome.hpo.counts("at-first") == {"complete": 2}
    assert outcome.hpo.counts("always") == {"failed": 3}
    assert outcome.hpo.counts("forgiven") == {"complete": 1}


@pytest.mark.parametrize(
    ("does", "cause"),
    [
        ("killed", "killed: SIGKILL"),
        ("exit", "exited: code 3"),
        ("memory", "out of memory"),
        ("hang", "stalled"),
    ],
)
def test_a_trial_resumes_from_its_checkpoint_after(outcome: Outcome, does: str, cause: str) -> None:
    record = outcome.trial("once", does)
    first, second = attempts_of(outcome.hpo, "once", record.number)
    trained = trained_by(outcome.hpo, "once", record.number)

    assert (record.state, record.attempts, record.causes) == ("complete", 2, (cause, "complete"))
    assert (record.cause, record.error) == (None, None)
    assert first.from_epoch == 0
    assert second.from_epoch is not None
    assert 0 < second.from_epoch <= CRASHES_IN
    assert trained == [(epoch, 1 if epoch <= second.from_epoch else 2) for epoch in range(1, EPOCHS + 1)]


def test_a_trial_that_was_retried_ends_as_one_that_nothing_happened_to(outcome: Outcome) -> None:
    for does in ("killed", "exit", "memory", "hang", "learn"):
        retried, undisturbed = outcome.trial("once", does), outcome.trial("never", does)

        assert undisturbed.attempts == 1
        assert retried.params == undisturbed.params
        assert retried.config["seed"] == undisturbed.config["seed"]
        assert retried.curve == undisturbed.curve
        assert (retried.value, retried.best_epoch) == (undisturbed.value, undisturbed.best_epoch)
        assert Path(retried.checkpoint or "").exists()


def test_a_trial_that_hangs_says_where(outcome: Outcome) -> None:
    number = outcome.trial("once", "hang").number

    log = outcome.hpo.run("logs", "once", number)[1]

    assert "most recent call first" in log
    assert "mishaps.py" in log


@pytest.mark.parametrize(("does", "cause"), [("killed", "killed: SIGKILL"), ("hang in setup", "stalled")])
def test_a_trial_killed_before_its_first_epoch_ends_starts_from_scratch(
    outcome: Outcome, does: str, cause: str
) -> None:
    record = outcome.trial("at-first", does)

    assert (record.state, record.causes) == ("complete", (cause, "complete"))
    assert attempts_of(outcome.hpo, "at-first", record.number)[1].from_epoch == 0
    assert [epoch for epoch, _ in record.curve] == list(range(1, EPOCHS + 1))


def test_an_error_in_the_users_code_is_not_retried(outcome: Outcome) -> None:
    record = outcome.trial("once", "raise")

    assert (record.state, record.cause, record.attempts) == ("failed", "error: RuntimeError", 1)
    assert "it did not go well" in (record.error or "")


def test_an_error_in_the_users_code_is_retried_when_the_file_asks_for_it(outcome: Outcome) -> None:
    record = outcome.trial("forgiven", "raise")
    [first, _] = attempts_of(outcome.hpo, "forgiven", record.number)

    assert (record.state, record.causes) == ("complete", ("error: RuntimeError", "complete"))
    assert (record.cause, record.error) == (None, None)
    assert (first.kind, "it did not go well" in (first.error or "")) == ("error", True)


@pytest.mark.parametrize(
    ("does", "cause", "attempts"),
    [("killed", "killed: SIGKILL", 2), ("memory", "out of memory", 3), ("hang", "stalled", 1)],
)
def test_a_trial_has_as_many_attempts_as_the_file_allows(
    outcome: Outcome, does: str, cause: str, attempts: int
) -> None:
    record = outcome.trial("always", does)

    assert (record.state, record.cause) == ("failed", cause)
    assert record.causes == (cause,) * attempts


def test_a_trial_over_its_time_ends_with_its_last_value(outcome: Outcome) -> None:
    record = outcome.trial("long", 0.3, by="seconds")

    assert (record.state, record.cause) == ("pruned", "over time: 0.1 minutes")
    assert record.epochs > 0
    assert record.value == record.curve[-1][1]["val_loss"]


def test_a_trial_over_its_time_without_an_epoch_fails(outcome: Outcome) -> None:
    record = outcome.trial("long", 600.0, by="seconds")

    assert (record.state, record.cause, record.value) == ("failed", "over time: 0.1 minutes", None)
    assert (record.epochs, record.attempts) == (0, 1)


def test_a_trial_over_its_time_before_its_next_attempt_ends_with_the_last_value(
    outcome: Outcome,
) -> None:
    [record] = outcome.hpo.trials("relapsed")
    kinds = [(attempt.kind, attempt.from_epoch) for attempt in attempts_of(outcome.hpo, "relapsed", 0)]

    assert kinds == [("crash", 0), ("overtime", None)]
    assert (record.state, record.cause) == ("pruned", "over time: 0.25 minutes")
    assert record.epochs == 3
    assert record.value == record.curve[-1][1]["val_loss"]


def test_hpo_trials_shows_how_each_attempt_ended(outcome: Outcome) -> None:
    _, table = outcome.hpo.run("trials", "once")
    _, document = outcome.hpo.run("trials", "once", "--json")

    number = outcome.trial("once", "killed").number
    [line] = [line for line in table.splitlines() if line.split()[:1] == [str(number)]]
    assert "[killed: SIGKILL; complete]" in line
    record = json.loads(document)[number]
    assert (record["attempts"], record["causes"], record["cause"]) == (2, ["killed: SIGKILL", "complete"], None)


# ---- workers that are asked to end


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def test_the_trials_of_a_draining_worker_are_continued_by_another(hpo: Hpo, server: ForkServer) -> None:
    model = {"class": "projects.nets:Line", "seconds": 0.3}
    submit(hpo, hpo.study("moved", model=model, epochs=20, budget={"trials": 2}), server)
    with running(hpo, "worker", "moved", "--slots", 2) as first:
        wait_for(lambda: [record.epochs > 0 for record in hpo.trials("moved")] == [True, True])
        first.send_signal(signal.SIGTERM)
        code, output = finish(first)
    between = hpo.trials("moved")
    second = finish(hpo.start("worker", "--until-idle", "--slots", 2))

    assert (code, second[0]) == (75, 0), (output, second)
    assert [(r.state, r.attempts, r.cause) for r in between] == [("idle", 1, None)] * 2
    records = hpo.trials("moved")
    assert [(r.state, r.causes) for r in records] == [("complete", (HANDED_BACK, "complete"))] * 2
    for before, after in zip(between, records, strict=True):
        assert (after.params, after.config["seed"]) == (before.params, before.config["seed"])
        assert after.curve[: before.epochs] == before.curve
        assert [epoch for epoch, _ in after.curve] == list(range(1, 21))
        assert attempts_of(hpo, "moved", after.number)[1].from_epoch == before.epochs
        assert after.worker != before.worker
