"""A fork: which trials of a study it has, as what, and what its workers make of them."""

from __future__ import annotations

from typing import Any

import pytest
from projects.synthetic import SPACE, Claimant, begin_next, create_study, make_spec
from sqlalchemy import select

from hpo.errors import StoreError
from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.fork import insert_fork
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy, load_study
from hpo.results.study import Study
from hpo.search.algorithms import distributions_of
from hpo.search.halving import make_rungs
from hpo.service.forked_trials import Candidates, Forking
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.store import Store
from hpo.store.tables import trial_params, trials
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import TrialState

# `depth` has fewer values, `lr` more, and `dropout` none; `width` is new.
OTHER = SearchSpace(
    (
        Parameter("lr", Float(1e-5, 1.0, log=True), default=1e-3, has_default=True),
        Parameter("optimizer", Choice("adam", "sgd"), default="adam", has_default=True),
        Parameter("momentum", Float(0.0, 0.99), default=0.9, has_default=True, when={"optimizer": ("sgd",)}),
        Parameter("depth", Int(1, 3), default=2, has_default=True),
    )
)
POINT: dict[str, Any] = {"lr": 0.01, "optimizer": "sgd", "momentum": 0.5, "depth": 2, "dropout": 0.1}


def forked(store: Store, old: StoredStudy, space: SearchSpace = SPACE, **keys: Any) -> tuple[StoredStudy, Candidates]:
    fixed = {"model": {} if "dropout" in space else {"dropout": 0.1}, "data": {}}
    new = ResolvedStudy(make_spec(study="new", **keys), space, fixed)
    forking = Forking(old.resolved, new, distributions_of(space), promotes=make_rungs(new.spec) is not None)
    with store.read() as connection:
        found = forking.candidates(connection, old.study_id)
    with store.write() as connection:
        rows = [one.trial for one in found.fitting]
        insert_fork(connection, new, rows, created=old.created + 9, keeps_rungs=False, earlier=None)
    return load_study(store, "new"), found


def trained(worker: Claimant, *curve: float, state: str = "COMPLETE", **params: Any) -> None:
    enqueue_points(worker.store, worker.study.name, [Point(POINT | params)])
    claim = begin_next(worker, *curve)
    value = None if state == "FAIL" else max(curve) if state == "COMPLETE" else curve[-1]
    best = None if value is None else 1 + curve.index(max(curve))
    worker.finish(claim, value, state=state, best_epoch=best)


@pytest.fixture
def old(store: Store) -> StoredStudy:
    study = create_study(store, study="old", sampler="random", pruner="none")
    worker = Claimant(store, study)
    trained(worker, 0.1, 0.2, 0.6, 0.5, 0.55, 0.56, 0.57, 0.58, 0.59)
    trained(worker, 0.1, 0.2, 0.3, state="PRUNED", lr=0.02)
    trained(worker, 0.1, 0.2, depth=4)
    trained(worker, 0.1, state="FAIL", lr=0.03)
    return study


def test_the_trials_that_fit_are_trials_of_the_new_study(store: Store, old: StoredStudy) -> None:
    enqueue_points(store, "old", [Point({"lr": 0.05, "depth": 3}), Point({"depth": 4})])
    running = Claimant(store, create_study(store, study="old", sampler="random", pruner="none"))
    begin_next(running, 0.3)

    new, found = forked(store, old, OTHER)

    before, after = Study(store, "old").trials(), Study(store, "new").trials()
    assert [one.number for one in found.fitting] == [0, 1, 3]
    assert found.left_out == {
        "'depth': 4 lies outside 1 to 3": [2, 5],
        "being trained at this moment": [4],
    }
    for number, record in zip((0, 1, 3), after, strict=True):
        theirs = before[number]
        assert (record.state, record.value, record.curve, record.attempts, record.seconds, record.best_epoch) == (
            (theirs.state, theirs.value, theirs.curve, theirs.attempts, theirs.seconds, theirs.best_epoch)
        )
        assert record.params == {name: value for name, value in theirs.params.items() if name != "dropout"}
    assert before == Study(store, "old").trials()
    counts = load_progress(store, new.study_id).counts
    assert (counts.complete, counts.pruned, counts.failed, counts.next_number) == (1, 1, 1, 3)


def test_a_worker_of_the_new_study_goes_on_with_its_numbers_and_its_space(store: Store, old: StoredStudy) -> None:
    new, _ = forked(store, old, OTHER, sampler="tpe")
    worker = Claimant(store, new)
    worker.history.sync()

    claim = begin_next(worker, 0.3)

    assert claim.number == 3
    with store.read() as connection:
        mine = select(trial_params.c.param_name, trial_params.c.distribution_json).distinct()
        of_new = mine.join(trials, trials.c.trial_id == trial_params.c.trial_id).where(
            trials.c.study_id == new.study_id
        )
        rows = connection.execute(of_new).all()
    assert len(rows) == len({row.param_name for row in rows}) == 4  # one distribution each: that of the new space


def test_with_fewer_epochs_curves_are_cut_and_complete(store: Store, old: StoredStudy) -> None:
    forked(store, old, epochs=2)

    records = Study(store, "new").trials()

    assert [(one.state, one.value, one.epochs, one.best_epoch) for one in records] == [
        (TrialState.COMPLETE, 0.2, 2, 2),
        (TrialState.COMPLETE, 0.2, 2, 2),
        (TrialState.COMPLETE, 0.2, 2, 2),
        (TrialState.FAILED, None, 1, None),
    ]


def test_with_more_epochs_what_was_complete_is_pruned_and_what_ended_early_is_complete(
    store: Store, old: StoredStudy
) -> None:
    forked(store, old, epochs=20)

    records = Study(store, "new").trials()

    assert [(one.state, one.epochs) for one in records] == [
        (TrialState.PRUNED, 9),
        (TrialState.PRUNED, 3),
        (TrialState.COMPLETE, 2),
        (TrialState.FAILED, 1),
    ]
    assert records[0].cause == "pruned: forked after 9 of 20 epochs"


def test_a_length_that_is_searched_now_takes_that_of_the_trials(store: Store, old: StoredStudy) -> None:
    space = SearchSpace.union(SPACE, SearchSpace((Parameter("epochs", Int(5, 15), owner="trainer"),)))

    forked(store, old, space, epochs={"low": 5, "high": 15})

    assert [one.params["epochs"] for one in Study(store, "new").trials()] == [9, 9, 9, 9]


@pytest.mark.parametrize(("pruner", "state"), [("asha", TrialState.PAUSED), ("median", TrialState.PRUNED)])
def test_trials_that_wait_at_a_rung_wait_for_a_pruner_that_promotes(
    store: Store, pruner: str, state: TrialState
) -> None:
    study = create_study(store, study="old", sampler="random")
    worker = Claimant(store, study)
    worker.pause_at_rung(begin_next(worker, 0.1, 0.2, 0.3))

    new, _ = forked(store, study, pruner=pruner)

    [record] = Study(store, "new").trials()
    assert (record.state, record.epochs) == (state, 3)
    other = Claimant(store, new)
    other.history.sync()
    assert other.history.promotable(is_last=True) == ([0] if state == TrialState.PAUSED else [])


def test_waiting_points_that_fit_wait_in_the_new_study_too(store: Store, old: StoredStudy) -> None:
    enqueue_points(store, "old", [Point({"lr": 0.05, "depth": 3})])

    new, _ = forked(store, old, sampler="random", points=[{"depth": 1}])
    worker = Claimant(store, new)
    params = [worker.begin(claim) for _ in range(2) if (claim := worker.claim()) is not None]

    assert (params[0]["lr"], params[0]["depth"]) == (0.05, 3)
    assert params[1]["depth"] == 1


def test_a_name_that_is_taken_by_then_leaves_nothing_behind(store: Store, old: StoredStudy) -> None:
    create_study(store, study="new")

    with pytest.raises(StoreError, match="the store has a study 'new' already"):
        forked(store, old)

    assert Study(store, "new").trials() == []
