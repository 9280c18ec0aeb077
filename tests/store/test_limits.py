"""A study's limits: hours, device-hours, a target, patience and trials, whichever comes first."""

from __future__ import annotations

from typing import Any

import pytest
from projects.synthetic import SPACE, Claimant, begin_next, create_study, make_spec
from sqlalchemy import select, update
from stores import ask_study, hand_back

from hpo.errors import SpecError
from hpo.queue.control import set_limits
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy, create_or_continue, load_study
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_studies
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import AttemptEnd

HOUR = 3600.0


def end(worker: Claimant, value: float | None, *, state: str = "COMPLETE") -> None:
    assert worker.finish(begin_next(worker), value, state=state)


def limit_of(store: Store, study: StoredStudy) -> str | None:
    return load_progress(store, study.study_id).limit


def set_attempts(store: Store, **values: Any) -> None:
    with store.write() as connection:
        connection.execute(update(hpo_attempts).values(**values))


# ---- what a claim refuses


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_no_trial_is_claimed_when_the_target_is_reached_exactly(store: Store, direction: str) -> None:
    objective = {"metric": "val_accuracy", "direction": direction}
    study = create_study(store, objective=objective, budget={"trials": 9, "target": 0.75})
    worker, other = Claimant(store, study), Claimant(store, study)
    short = 0.75 - 1e-9 if direction == "maximize" else 0.75 + 1e-9

    end(worker, short)
    end(worker, 0.9 if direction == "maximize" else 0.1, state="PRUNED")  # a target is reached by a complete trial
    running = begin_next(other)
    assert worker.finish(begin_next(worker), 0.75)

    assert limit_of(store, study) == "the target 0.75 is reached: 0.75"
    assert (worker.claim(), other.claim()) == (None, None)
    assert other.finish(running, 0.5)


def test_no_trial_is_claimed_when_the_hours_are_over(store: Store) -> None:
    study = create_study(store, budget={"trials": 9, "hours": 2})
    worker, other = Claimant(store, study), Claimant(store, study)
    end(worker, 0.5)

    started(store, hours_ago=2, but_seconds=60)
    end(other, 0.5)
    started(store, hours_ago=2)

    assert limit_of(store, study) == "its 2 hours are spent"
    assert (worker.claim(), other.claim()) == (None, None)


def started(store: Store, *, hours_ago: float, but_seconds: float = 0.0) -> None:
    with store.write() as connection:
        connection.execute(update(hpo_studies).values(started=db_now() - hours_ago * HOUR + but_seconds))


def test_hours_count_from_the_first_claim_and_not_from_the_submission(store: Store) -> None:
    study = create_study(store, budget={"trials": 9, "hours": 1})
    with store.write() as connection:
        connection.execute(update(hpo_studies).values(created=db_now() - 9 * HOUR))

    assert limit_of(store, study) is None
    end(Claimant(store, study), 0.5)
    assert limit_of(store, study) is None


def test_device_hours_count_every_device_of_every_attempt_whatever_its_end(store: Store) -> None:
    study = create_study(store, budget={"trials": 9, "gpu_hours": 4})
    worker = Claimant(store, study)
    claim = begin_next(worker)
    hand_back(store, claim)
    claim = begin_next(worker)
    assert worker.finish(claim, None, state="FAIL", end=AttemptEnd("crash"))
    end(worker, 0.5)

    set_attempts(store, devices=2, seconds=(2 * HOUR - 0.5) / 3)  # three attempts: a second short of four hours
    before = limit_of(store, study)
    still = begin_next(worker)
    assert worker.finish(still, 0.5)
    set_attempts(store, devices=2, seconds=HOUR / 2)  # four attempts: exactly

    assert before is None
    assert limit_of(store, study) == "its 4 device-hours are spent"
    assert worker.claim() is None


def test_device_hours_count_running_attempts(store: Store) -> None:
    study = create_study(store, budget={"trials": 9, "gpu_hours": 1})
    worker = Claimant(store, study)
    running = begin_next(worker)

    set_attempts(store, started=db_now() - HOUR)

    assert limit_of(store, study) == "its 1 device-hours are spent"
    assert worker.claim() is None
    assert worker.finish(running, 0.5)


def test_patience_counts_the_trials_that_ended_since_the_best(store: Store) -> None:
    study = create_study(store, budget={"trials": 20, "patience": 3})
    worker, other = Claimant(store, study), Claimant(store, study)
    for value in (0.5, 0.4, 0.4, 0.6):  # two without a better one, and then one
        end(worker, value)
    end(other, 0.6)  # as good is not better
    end(other, None, state="FAIL")
    running, also = begin_next(worker), begin_next(other)
    before = limit_of(store, study)
    assert worker.finish(running, 0.7, state="PRUNED")

    assert before is None
    assert limit_of(store, study) == "3 trials ended without a better one"
    assert (worker.claim(), other.claim()) == (None, None)
    assert other.finish(also, 0.65)  # a better one that was under way: there is patience again
    assert limit_of(store, study) is None
    assert worker.claim() is not None


def test_the_first_limit_that_is_reached_counts(store: Store) -> None:
    study = create_study(store, budget={"trials": 3, "target": 0.9, "patience": 1, "hours": 5, "gpu_hours": 5})
    worker = Claimant(store, study)
    end(worker, 0.5)
    end(worker, 0.4)

    assert limit_of(store, study) == "1 trial ended without a better one"
    assert worker.claim() is None
    set_limits(store, "synthetic", ["patience=2"])
    end(worker, 0.95)  # the last trial, and the target
    assert worker.claim() is None
    set_limits(store, "synthetic", ["target=none", "patience=none"])
    assert worker.claim() is None  # the trials are used up
    set_limits(store, "synthetic", ["trials=+1"])
    assert begin_next(worker).number == 3


def test_a_trial_that_was_handed_back_is_not_claimed_beyond_a_limit(store: Store) -> None:
    study = create_study(store, budget={"trials": 9, "target": 0.9})
    worker = Claimant(store, study)
    begun = begin_next(worker)
    worker.report(begun, 1, 0.5)
    good = begin_next(worker)
    hand_back(store, begun)
    assert worker.finish(good, 0.9)

    assert worker.claim() is None
    set_limits(store, "synthetic", ["target=0.95"])
    assert begin_next(worker).number == begun.number


# ---- hours of a study that is over


def let_pass(store: Store, hours: float) -> None:
    """As if all that has happened had happened so long ago."""
    with store.write() as connection:
        connection.execute(update(hpo_studies).values(started=hpo_studies.c.started - hours * HOUR))
        moved = {column.name: column - hours * HOUR for column in (hpo_attempts.c.started, hpo_attempts.c.ended)}
        connection.execute(update(hpo_attempts).values(**moved))


def hours_of(store: Store) -> float:
    """As `hpo status` shows them."""
    return Study(store, "synthetic").status().budget["hours"]["spent"]


def train_for(store: Store, worker: Claimant, hours: float) -> None:
    """A trial that takes so long."""
    claim = begin_next(worker)
    let_pass(store, hours)
    assert worker.finish(claim, 0.5)


def ended_a_day_ago(store: Store, **budget: Any) -> Claimant:
    """A study of one trial that took two hours."""
    worker = Claimant(store, create_study(store, budget={"trials": 1, "hours": 5, **budget}))
    train_for(store, worker, 2)
    let_pass(store, 24)
    return worker


def test_hours_stop_with_the_study(store: Store) -> None:
    worker = ended_a_day_ago(store)
    status = Study(store, "synthetic").status()

    assert (status.state, status.reason) == ("done", None)
    assert hours_of(store) == pytest.approx(2, abs=0.1)
    assert worker.claim() is None


@pytest.mark.parametrize("by", ["set", "file"])
def test_hours_continue_where_they_stopped_when_the_study_is_extended(store: Store, by: str) -> None:
    worker = ended_a_day_ago(store)
    if by == "set":
        set_limits(store, "synthetic", ["trials=+2"])
    else:
        create_study(store, budget={"trials": 3, "hours": 5})

    first = hours_of(store)
    train_for(store, worker, 1)
    second = hours_of(store)
    let_pass(store, 1)  # nobody works on it, but somebody could
    idle = hours_of(store)
    train_for(store, worker, 1)
    let_pass(store, 24)

    assert [first, second, idle, hours_of(store)] == pytest.approx([2, 3, 4, 5], abs=0.1)


def test_hours_that_are_spent_can_be_added_to_a_day_later(store: Store) -> None:
    worker = ended_a_day_ago(store, trials=9)
    status = Study(store, "synthetic").status()
    spent = hours_of(store)
    set_limits(store, "synthetic", ["hours=+2"])
    train_for(store, worker, 1)
    after = hours_of(store)
    let_pass(store, 1.5)

    assert (status.state, status.reason) == ("done", "its 5 hours are spent")  # three of them nobody used
    assert [spent, after] == pytest.approx([5, 6], abs=0.1)
    assert worker.claim() is None


def test_a_stopped_study_spends_no_hours_until_it_is_resumed(store: Store) -> None:
    worker = Claimant(store, create_study(store, budget={"trials": 9, "hours": 5}))
    train_for(store, worker, 2)
    let_pass(store, 1)

    ask_study(store, "synthetic", "stop")
    let_pass(store, 24)
    stopped = hours_of(store)
    ask_study(store, "synthetic", "resume")

    assert stopped == pytest.approx(3, abs=0.1)
    assert hours_of(store) == pytest.approx(3, abs=0.1)
    train_for(store, worker, 1)
    assert hours_of(store) == pytest.approx(4, abs=0.1)


def test_a_change_that_leaves_a_study_over_moves_no_hours(store: Store) -> None:
    ended_a_day_ago(store)

    for change in ("priority=3", "trials=1", "hours=9", "hours=1", "patience=4", "hours=none", "trials=+1", "trials=1"):
        set_limits(store, "synthetic", [change])
    set_limits(store, "synthetic", ["hours=5"])

    assert hours_of(store) == pytest.approx(2, abs=0.1)


# ---- several claim at once


# ---- the file, and what was set since


def submit(store: Store, **budget: Any) -> None:
    spec = make_spec(budget={"trials": 10, **budget})
    create_or_continue(store, ResolvedStudy(spec, SPACE, {"model": {}, "data": {}}))


def limits(store: Store) -> dict[str, float]:
    """As they are in force."""
    return {name: limit["target"] for name, limit in Study(store, "synthetic").status().budget.items()}


def test_the_same_file_again_does_not_undo_hpo_set(store: Store) -> None:
    submit(store, hours=2, target=0.9)
    set_limits(store, "synthetic", ["trials=+5", "hours=3", "target=none", "patience=7", "priority=4"])

    submit(store, hours=2, target=0.9)

    assert limits(store) == {"trials": 15, "hours": 3, "patience": 7}
    with store.read() as connection:
        assert connection.scalar(select(hpo_studies.c.priority)) == 4


def test_a_limit_that_changed_in_the_file_counts(store: Store) -> None:
    submit(store, hours=2, target=0.9)
    set_limits(store, "synthetic", ["hours=3", "patience=7"])

    submit(store, hours=4, target=0.9, trials=12)

    assert limits(store) == {"trials": 12, "hours": 4, "target": 0.9, "patience": 7}


def test_a_number_of_trials_that_was_set_counts_until_the_file_asks_for_another(store: Store) -> None:
    submit(store)
    set_limits(store, "synthetic", ["trials=4"])

    submit(store)
    same = limits(store)["trials"]
    submit(store, trials=12)

    assert (same, limits(store)["trials"]) == (4, 12)


def test_hours_alone_leave_the_number_of_trials_without_a_limit(store: Store) -> None:
    spec = make_spec(budget={"hours": 8})
    _, message = create_or_continue(store, ResolvedStudy(spec, SPACE, {"model": {}, "data": {}}))
    worker = Claimant(store, load_study(store, "synthetic"))

    for _ in range(30):
        end(worker, 0.5)

    assert message == "study synthetic created: no limit of trials, 8 hours"
    assert worker.claim() is not None
    status = Study(store, "synthetic").status()
    assert status.state == "running"
    assert status.budget["trials"] == {"spent": 31.0}


def test_the_limit_of_trials_can_be_lifted_and_set_again(store: Store) -> None:
    create_study(store, budget={"trials": 5})

    lifted = set_limits(store, "synthetic", ["trials=none"])
    with pytest.raises(SpecError, match=r"'trials=\+5' adds to a limit that the study does not have"):
        set_limits(store, "synthetic", ["trials=+5"])
    limited = set_limits(store, "synthetic", ["trials=7"])

    assert (lifted, limited) == (
        "study synthetic: trials none, priority 1. No limit is left: workers train it until 'hpo stop synthetic'",
        "study synthetic: trials 7, priority 1",
    )


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({}, "20 trials"),
        ({"target": 0.9}, "20 trials, a value of 0.9"),
        ({"trials": 40, "hours": 1.5}, "40 trials, 1.5 hours"),
        ({"gpu_hours": 3}, "no limit of trials, 3 device-hours"),
        ({"patience": 10}, "no limit of trials, 10 trials without a better one"),
    ],
)
def test_a_budget_in_words(budget: dict[str, Any], words: str) -> None:
    assert str(make_spec(budget=budget).budget) == words
