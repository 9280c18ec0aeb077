"""Holding, ending and changing studies and trials in a store of either database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from projects.launch import Hpo
from projects.service import invoke
from projects.synthetic import Claimant, create_study
from sqlalchemy import select, update
from stores import ask_study, ask_trial, hand_back

from hpo.errors import StoreError
from hpo.queue.claim import Claim
from hpo.queue.control import set_limits
from hpo.queue.leases import expire_leases
from hpo.queue.progress import requests_of
from hpo.queue.studies import StoredStudy
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, hpo_studies

WISHES = ("pause", "resume", "stop", "kill")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pause", "steerd"), "the store has no study 'steerd', did you mean 'steered'?"),
        (("kill", "steered", 99), "study 'steered' has no trial 99; 'hpo trials steered' lists those it has"),
        (("stop", "steered", 0), "trial 0 of study 'steered' has ended already (complete)"),
        (("set", "steered", "trails=5"), "'trails' cannot be set, did you mean 'trials'? These can: trials, hours,"),
        (("set", "steered", "trials"), "'trials' should be KEY=VALUE, such as trials=+50"),
        (("set", "steered", "trials=+x"), "'trials=+x': '+x' is not a number"),
        (("set", "steered", "trials=many"), "'trials=many': 'many' is not a number"),
        (("set", "steered", "trials=2.5"), "'trials=2.5' should be a whole number from 1 to 2147483647"),
        (("set", "steered", "trials=-3"), "'trials=-3' should be a whole number from 1 to 2147483647"),
        (("set", "steered", "trials=1e30"), "'trials=1e30' should be a whole number from 1 to 2147483647"),
        (("set", "steered", "priority=0"), "'priority=0' should be a number above 0"),
        (("set", "steered", "hours=nan"), "'hours=nan' should be a number above 0"),
        (("set", "steered", "target=inf"), "'target=inf' should be a number"),
        (("set", "steered", "patience=1.5"), "'patience=1.5' should be a whole number from 1 to 2147483647"),
        (("set", "steered", "gpu_hours=+1"), "'gpu_hours=+1' adds to a limit that the study does not have"),
        (("set", "steered", "trials=+5", "hours=soon"), "'hours=soon': 'soon' is not a number"),
    ],
)
def test_invalid_changes_are_refused_with_a_reason_and_change_nothing(
    sqlite_store: Store, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    worker = Claimant(sqlite_store, create_study(sqlite_store, study="steered"))
    finish_one(worker)
    before = row_of(sqlite_store)

    code, output = invoke(Hpo(tmp_path, str(sqlite_store.url)), *arguments)

    assert code == 2
    assert output.startswith(f"error: {message}"), output
    assert row_of(sqlite_store) == before
    assert Study(sqlite_store, "steered").trials()[0].state == "complete"


def test_a_study_of_another_program_cannot_be_controlled(store: Store) -> None:
    with optuna_storage(store.url) as storage:
        theirs = optuna.create_study(storage=storage, study_name="theirs")
        theirs.ask()

    message = "'theirs' was created by another program: only that program can control it"
    with pytest.raises(StoreError, match=message):
        ask_study(store, "theirs", "stop")
    with pytest.raises(StoreError, match=message):
        ask_trial(store, "theirs", 0, "kill")
    with pytest.raises(StoreError, match=message):
        set_limits(store, "theirs", ["trials=5"])


def row_of(store: Store) -> Any:
    with store.read() as connection:
        return connection.execute(select(hpo_studies)).one()


def finish_one(worker: Claimant, value: float = 0.5) -> Claim:
    claim = begin_one(worker)
    assert worker.finish(claim, value)
    return claim


def begin_one(worker: Claimant) -> Claim:
    claim = worker.claim()
    assert claim is not None
    if claim.params is None:
        worker.begin(claim)
    return claim


def states(store: Store) -> list[tuple[str, str | None]]:
    return [(record.state, record.cause) for record in Study(store, "synthetic").trials()]


def lose_workers(store: Store) -> None:
    """As if the worker of each trial had sent no heartbeat for long."""
    with store.write() as connection:
        connection.execute(update(hpo_attempts).where(hpo_attempts.c.ended.is_(None)).values(lease_until=1.0))


@pytest.mark.parametrize(
    ("verb", "with_curve"), [("stop", ("pruned", "stopped: by request")), ("kill", ("failed", "killed: by request"))]
)
def test_idle_trials_end_at_once(store: Store, study: StoredStudy, verb: str, with_curve: tuple[str, str]) -> None:
    worker = Claimant(store, study)
    started, new, last = begin_one(worker), begin_one(worker), begin_one(worker)
    worker.report(started, 1, 0.5)
    hand_back(store, started)
    hand_back(store, new)

    for _ in range(2):
        ask_study(store, "synthetic", verb)

    without = ("failed", with_curve[1])
    assert states(store) == [with_curve, without, ("running", None)]  # the last one's worker will end it
    assert worker.claim() is None
    assert worker.finish(last, 0.5, state="PRUNED")


@pytest.mark.parametrize(
    ("verb", "expected"), [("stop", ("pruned", "stopped: by request")), ("kill", ("failed", "killed: by request"))]
)
def test_an_idle_trial_ends_alone(store: Store, study: StoredStudy, verb: str, expected: tuple[str, str]) -> None:
    worker = Claimant(store, study)
    claims = [begin_one(worker), begin_one(worker)]
    for claim in claims:
        worker.report(claim, 1, 0.5)
        hand_back(store, claim)

    ask_trial(store, "synthetic", 0, verb)

    assert states(store) == [expected, ("idle", None)]
    assert begin_one(worker).number == 1


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_trial_is_over_that_its_worker_hands_back_when_it_was_to_end(
    store: Store, study: StoredStudy, verb: str, whole: bool
) -> None:
    """The worker was asked to end, or the trial crashed, before it saw the verb."""
    worker = Claimant(store, study)
    claim = begin_one(worker)
    worker.report(claim, 1, 0.5)
    steer(store, verb, whole=whole)

    assert hand_back(store, claim)

    assert states(store) == [("pruned", "stopped: by request") if verb == "stop" else ("failed", "killed: by request")]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_trial_that_was_to_end_is_not_tried_again_when_its_worker_is_lost(
    store: Store, study: StoredStudy, verb: str, whole: bool
) -> None:
    worker = Claimant(store, study)
    claim = begin_one(worker)
    worker.report(claim, 1, 0.5)
    steer(store, verb, whole=whole)

    lose_workers(store)
    assert expire_leases(store) == [0]

    assert [state for state, _ in states(store)] == ["pruned" if verb == "stop" else "failed"]
    ask_study(store, "synthetic", "resume")
    claimed = worker.claim()
    assert claimed is not None
    assert claimed.number == 1


def steer(store: Store, verb: str, *, whole: bool) -> None:
    if whole:
        ask_study(store, "synthetic", verb)
    else:
        ask_trial(store, "synthetic", 0, verb)


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_control_also_ends_trials_that_lost_their_worker(store: Store, study: StoredStudy, verb: str) -> None:
    worker = Claimant(store, study)
    claims = [begin_one(worker), begin_one(worker)]
    worker.report(claims[0], 1, 0.5)
    lose_workers(store)

    ask_study(store, "synthetic", verb)

    assert all(state not in ("running", "idle", "paused") for state, _ in states(store))


def test_a_paused_trial_is_skipped_until_it_is_resumed(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    claim = begin_one(worker)
    ask_trial(store, "synthetic", 0, "pause")
    hand_back(store, claim)

    passed = begin_one(worker)
    ask_trial(store, "synthetic", 0, "resume")
    taken = begin_one(worker)

    assert (passed.number, taken.number, taken.attempt) == (1, 0, 2)


def test_a_waiting_trial_can_be_paused_and_ended(store: Store, study: StoredStudy) -> None:
    """Optuna's scripts enqueue points, which are trials before anybody trains them."""
    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(storage=storage, study_name="synthetic")
        for depth in (1, 2, 3):
            theirs.enqueue_trial({"depth": depth})
    worker = Claimant(store, study)

    ask_trial(store, "synthetic", 0, "pause")
    ask_trial(store, "synthetic", 1, "kill")
    taken = begin_one(worker)
    ask_trial(store, "synthetic", 0, "resume")
    after = begin_one(worker)

    assert (taken.number, after.number) == (2, 0)
    assert states(store)[1] == ("failed", "killed: by request")


def test_a_trial_that_completes_before_its_worker_sees_the_kill_stays_complete(
    store: Store, study: StoredStudy
) -> None:
    worker = Claimant(store, study)
    claim = begin_one(worker)

    ask_trial(store, "synthetic", 0, "kill")
    with store.read() as connection:
        assert requests_of(connection, [claim.trial_id]) == {claim.trial_id: "kill"}
    assert worker.finish(claim, 0.75)

    assert states(store) == [("complete", None)]
    with pytest.raises(StoreError, match="has ended already"):
        ask_trial(store, "synthetic", 0, "kill")


def test_repeating_a_request_changes_nothing(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    hand_back(store, begin_one(worker))

    for verb in ("pause", "resume", "stop", "resume", "kill", "resume"):
        ask_study(store, "synthetic", verb)
        once = (row_of(store), states(store))
        ask_study(store, "synthetic", verb)
        assert (row_of(store), states(store)) == once, verb

    assert row_of(store).state == "running"
    assert begin_one(worker).number == 1


def test_idle_trials_end_when_the_target_is_lowered(store: Store) -> None:
    study = create_study(store, budget={"trials": 6})
    worker = Claimant(store, study)
    trained, other, *handed_back = [begin_one(worker) for _ in range(5)]
    worker.report(handed_back[0], 1, 0.25)
    for claim in handed_back:
        hand_back(store, claim)

    set_limits(store, "synthetic", ["trials=2"])
    still, refused = states(store), worker.claim()
    assert worker.finish(trained, 0.5)
    hand_back(store, other)  # it is one of two, so that somebody goes on with it
    again = begin_one(worker)
    assert worker.claim() is None
    assert worker.finish(again, 0.75)
    set_limits(store, "synthetic", ["trials=2"])

    assert [state for state, _ in still] == ["running", "running", "idle", "idle", "idle"]
    assert refused is None
    cause = "stopped: the study has all of its 2 trials"
    assert sorted(states(store)[2:], key=str) == [("failed", cause), ("failed", cause), ("pruned", cause)]
    assert (again.number, again.attempt) == (1, 2)
    status = Study(store, "synthetic").status()
    assert (status.state, status.counts["idle"], status.counts["waiting"]) == ("done", 0, 0)


def test_limits_are_set_and_added_to_and_taken_away(store: Store) -> None:
    create_study(store, budget={"trials": 10, "hours": 2})

    first = set_limits(store, "synthetic", ["trials=+5", "hours=+0.5", "target=-3", "priority=0.5"])
    second = set_limits(store, "synthetic", ["trials=7", "hours=none", "target=+1", "patience=4"])

    assert first == "study synthetic: trials 15, hours 2.5, target -3, priority 0.5"
    assert second == "study synthetic: trials 7, target -2, patience 4, priority 0.5"
    budget = Study(store, "synthetic").status().budget
    assert budget["trials"] == {"target": 7.0, "spent": 0.0}
    assert {name: limit["target"] for name, limit in budget.items()} == {"trials": 7, "target": -2, "patience": 4}
