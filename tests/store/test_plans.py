"""Studies that train the best trials of a search again: their trials are entered, claimed in order, and ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from projects.stored import PARAMS
from projects.synthetic import SPACE, Claimant, create_study, make_spec

from hpo.errors import SpecError, StoreError
from hpo.queue.control import set_limits
from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.findings import add_finding, findings_of
from hpo.queue.plans import end_beaten, plans_of, standings
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy, create_or_continue, load_study
from hpo.results.study import Study
from hpo.service.delete import belongings_of, delete_study
from hpo.service.rename import rename_study
from hpo.store import Store
from hpo.study.plan import Candidate, Plan
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import Direction, TrialState

FIRST, SECOND = PARAMS, {**PARAMS, "depth": 4}
PLAN = Plan("rerun", (Candidate(7, 0.9, FIRST), Candidate(3, 0.8, SECOND)), seeds=5)


def enter(store: Store, plan: Plan, parent: StoredStudy) -> StoredStudy:
    spec = make_spec(study="synthetic.final", budget={"trials": plan.trials}, first_trial="sampled")
    resolved = ResolvedStudy(spec, SPACE, {"model": {}, "data": {}})
    return create_or_continue(store, resolved, plan=plan, parent_id=parent.study_id)[0]


@pytest.fixture
def search(store: Store) -> StoredStudy:
    return create_study(store)


@pytest.fixture
def reruns(store: Store, search: StoredStudy) -> StoredStudy:
    return enter(store, PLAN, search)


def train(store: Store, reruns: StoredStudy, values: list[float]) -> Claimant:
    claimant = Claimant(store, reruns)
    for value in values:
        claim = claimant.claim()
        assert claim is not None
        claimant.begin(claim)
        claimant.report(claim, 1, value)
        claimant.finish(claim, value)
    return claimant


def test_its_trials_take_the_candidates_in_turn_and_none_beyond(store: Store, reruns: StoredStudy) -> None:
    claimant = Claimant(store, reruns)
    params = []
    while (claim := claimant.claim()) is not None:
        params.append(claimant.begin(claim))

    assert params == [FIRST, SECOND] * 5


def test_a_candidate_that_is_out_gets_no_further_seeds_and_the_study_ends_with_its_trials(
    store: Store, search: StoredStudy, reruns: StoredStudy
) -> None:
    claimant = train(store, reruns, [0.90, 0.1, 0.91, 0.11, 0.92, 0.12])

    assert end_beaten(store, reruns.study_id, PLAN, Direction.MAXIMIZE) == [7, 9]
    assert end_beaten(store, reruns.study_id, PLAN, Direction.MAXIMIZE) == []  # a second time, nothing
    ended = Study(store, reruns.name).trial(7)
    assert ended is not None
    assert (ended.state, ended.value) == (TrialState.PRUNED, None)
    assert ended.cause == "out of the race: with its seeds so far, trial 3 of the search cannot win any more"
    last = [claimant.claim(), claimant.claim(), claimant.claim()]
    assert [None if claim is None else claim.number for claim in last] == [6, 8, None]


def test_a_running_trial_of_a_candidate_that_is_out_is_left_alone(store: Store, reruns: StoredStudy) -> None:
    claimant = train(store, reruns, [0.90, 0.1, 0.91, 0.11, 0.92, 0.12])
    running = [claimant.claim(), claimant.claim()]

    assert end_beaten(store, reruns.study_id, PLAN, Direction.MAXIMIZE) == [9]
    assert [claim.number for claim in running if claim] == [6, 7]
    with store.read() as connection:
        first, second = standings(connection, reruns.study_id, PLAN, Direction.MAXIMIZE)
    assert (first.is_out, second.is_out, len(second.scores)) == (False, True, 3)


def test_more_seeds_are_entered_behind_those_that_were_trained(
    store: Store, search: StoredStudy, reruns: StoredStudy
) -> None:
    train(store, reruns, [0.5] * 10)
    assert load_progress(store, reruns.study_id).is_over

    more = replace(PLAN, seeds=6)
    again = enter(store, more, search)

    assert again.study_id == reruns.study_id
    assert load_study(store, reruns.name).plan == more
    assert [trial.state for trial in Study(store, reruns.name).trials()][-2:] == [TrialState.WAITING] * 2
    with store.read() as connection:
        assert plans_of(connection, search.study_id) == [(reruns.study_id, reruns.name, more)]


def test_it_takes_no_other_points_or_trials(store: Store, reruns: StoredStudy) -> None:
    with pytest.raises(SpecError, match="only trains the best trials of a search again"):
        enqueue_points(store, reruns.name, [Point({"lr": 0.01})])
    with pytest.raises(SpecError, match="as many as 'hpo finalize --seeds' says"):
        set_limits(store, reruns.name, ["trials=+5"])
    set_limits(store, reruns.name, ["hours=1"])


def test_a_search_and_a_plan_of_one_name_are_different_studies(
    store: Store, search: StoredStudy, reruns: StoredStudy
) -> None:
    spec = make_spec(study=reruns.name)
    with pytest.raises(StoreError, match="trains the best trials of a search again: begin another study"):
        create_or_continue(store, ResolvedStudy(spec, SPACE, {"model": {}, "data": {}}))
    named = ResolvedStudy(search.resolved.spec, SPACE, {"model": {}, "data": {}})
    with pytest.raises(StoreError, match="'synthetic' is a search"):
        create_or_continue(store, named, plan=PLAN, parent_id=search.study_id)


def test_a_rename_is_followed_by_what_was_found_out(
    store: Store, search: StoredStudy, reruns: StoredStudy, tmp_path: Path
) -> None:
    content = {"study": search.name, "reruns_study": reruns.name, "kept": {"study": reruns.name, "trial": 0}}
    with store.write() as connection:
        add_finding(connection, search.study_id, "final", content)

    rename_study(store, reruns.name, "other.final", artifacts=tmp_path)
    rename_study(store, search.name, "other", artifacts=tmp_path)

    with store.read() as connection:
        [found] = findings_of(connection, search.study_id)
        assert [name for _, name, _ in plans_of(connection, search.study_id)] == ["other.final"]
    kept = {"study": "other.final", "trial": 0}
    assert found.content == {"study": "other", "reruns_study": "other.final", "kept": kept}


def test_a_deleted_search_leaves_its_reruns_as_a_study_of_their_own(
    store: Store, search: StoredStudy, reruns: StoredStudy, tmp_path: Path
) -> None:
    assert belongings_of(store, search.name, artifacts=tmp_path).reruns == (reruns.name,)

    delete_study(store, search.name, artifacts=tmp_path)

    assert load_study(store, reruns.name).plan == PLAN
    another = create_study(store, study="another")
    with store.read() as connection:
        assert plans_of(connection, another.study_id) == []  # SQLite may give it the same number
