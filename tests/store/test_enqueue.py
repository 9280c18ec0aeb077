"""Enqueued points: they are validated, and each is claimed exactly once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from projects.synthetic import GRID, SPACE, Claimant, create_study, make_spec
from sqlalchemy import select

from hpo.errors import SpecError, StoreError
from hpo.queue.control import request_study, request_trial, set_limits
from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.idle import end_paused_trials, standstill
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy, create_or_continue
from hpo.results.study import Study
from hpo.service.points import point_of_words, read_points
from hpo.service.study import Study as LiveStudy
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.space.from_text import value_of_text
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import trial_system_attributes, trials
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import Request, StudyState, TrialState


@pytest.fixture
def study(store: Store) -> StoredStudy:
    return create_study(store, sampler="random")


def rows_of(store: Store) -> list[tuple[int, str, dict[str, object]]]:
    """(number, state, what it was given) of the trials."""
    with store.read() as connection:
        found = connection.execute(
            select(trials.c.number, trials.c.state, trial_system_attributes.c.value_json)
            .outerjoin(trial_system_attributes, trial_system_attributes.c.trial_id == trials.c.trial_id)
            .order_by(trials.c.number)
        )
        return [(row.number, row.state, json.loads(row.value_json or "{}")) for row in found]


# ---- what is entered


def test_a_point_waits_with_the_next_number_and_the_parameters_own_types(store: Store, study: StoredStudy) -> None:
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None

    entered = enqueue_points(store, study.name, [point_of_words(["lr=1e-2", "depth=3", "optimizer=sgd", "momentum=0"])])

    assert (entered.numbers, entered.waiting_already, entered.beyond, entered.limit) == ((1,), frozenset(), 0, None)
    assert str(entered) == "study synthetic: trial 1 waits for a worker"
    number, state, given = rows_of(store)[1]
    assert (number, state) == (1, "WAITING")
    assert given == {"lr": 0.01, "depth": 3, "optimizer": "sgd", "momentum": 0.0}
    assert [type(given[name]) for name in ("lr", "depth", "momentum")] == [float, int, float]
    assert Study(store, study.name).trials()[1].state == TrialState.WAITING


def test_workers_take_points_first_once_and_sample_the_rest(store: Store, study: StoredStudy) -> None:
    enqueue_points(store, study.name, [Point({"depth": 4}), Point({"optimizer": "sgd", "momentum": 0.25, "lr": 0.05})])
    workers = [Claimant(store, study), Claimant(store, study)]

    claims = [(worker, worker.claim()) for worker in (*workers, *workers)]
    params = [worker.begin(claim) for worker, claim in claims if claim is not None]

    assert [claim.number for _, claim in claims if claim is not None] == [0, 1, 2, 3]
    assert params[0]["depth"] == 4
    assert {"optimizer": "sgd", "momentum": 0.25, "lr": 0.05}.items() <= params[1].items()
    assert all(SPACE.contains(point) for point in params)
    assert len({point["lr"] for point in params}) == 4
    assert [record.params for record in Study(store, study.name).trials()] == params


def test_an_optuna_script_takes_our_points_as_its_own(store: Store, study: StoredStudy) -> None:
    enqueue_points(store, study.name, [Point({"lr": 0.05, "depth": 4})])

    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(study_name=study.name, storage=storage)
        theirs.enqueue_trial({"depth": 3})
        asked = [theirs.ask(), theirs.ask()]
        found = [(trial.suggest_float("lr", 1e-4, 1e-1, log=True), trial.suggest_int("depth", 1, 4)) for trial in asked]

    assert [trial.number for trial in asked] == [0, 1]
    assert found[0] == (0.05, 4)
    assert found[1][1] == 3
    again = enqueue_points(store, study.name, [Point({"depth": 4})])
    assert again.numbers == (2,)


def test_choices_of_any_type_are_told_apart_in_text() -> None:
    space = SearchSpace(
        (
            Parameter("flag", Choice(True, False)),
            Parameter("size", Choice(1, 2.5, "1", "none", None)),
            Parameter("number", Choice(1.0, 2.0)),
            Parameter("count", Int(1, 9)),
            Parameter("rate", Float(0.0, 1.0)),
        )
    )

    def taken(name: str, text: str) -> object:
        return space[name].range.take(value_of_text(space[name], text))

    assert taken("flag", "true") is True
    assert taken("flag", "False") is False
    assert taken("size", "1") == "1"
    assert taken("size", "1.0") == 1
    assert type(taken("size", "2.5")) is float
    assert taken("size", "none") == "none"
    assert taken("size", "null") is None
    assert repr(taken("number", "2")) == "2.0"
    assert repr(taken("count", "7")) == "7"
    assert repr(taken("rate", "1")) == "1.0"
    assert value_of_text(space["flag"], "yes") == "yes"  # which is none of the choices


def test_a_point_that_waits_already_is_not_entered_again(store: Store, study: StoredStudy) -> None:
    with optuna_storage(store.url) as storage:
        optuna.load_study(study_name=study.name, storage=storage).enqueue_trial({"depth": 2, "lr": 0.01})

    first = enqueue_points(
        store, study.name, [Point({"lr": 0.01, "depth": 2}), Point({"depth": 3}), Point({"depth": 3})]
    )
    again = enqueue_points(store, study.name, [Point({"depth": 3})])
    claimed = [Claimant(store, study).claim() for _ in range(2)]
    after = enqueue_points(store, study.name, [Point({"depth": 3})])

    assert (first.numbers, sorted(first.waiting_already)) == ((0, 1, 1), [0, 1])
    assert (again.numbers, str(again)) == ((1,), "study synthetic: trial 1 waits already with an equal point")
    assert [claim.number for claim in claimed if claim is not None] == [0, 1]
    assert (after.numbers, after.waiting_already) == ((2,), frozenset())  # nobody waits with it any more


def test_a_study_without_room_says_so_and_trains_the_point_when_it_is_extended(store: Store) -> None:
    study = create_study(store, sampler="random", budget={"trials": 1})
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    worker.finish(claim, 0.5)

    entered = enqueue_points(store, study.name, [Point({"depth": 4}), Point({"depth": 3})])
    before = worker.claim()
    set_limits(store, study.name, ["trials=+1"])
    after = worker.claim()
    last = worker.claim()

    assert "no room for all that wait: 'hpo set synthetic trials=+2' makes room" in str(entered)
    assert load_progress(store, study.study_id).counts.waiting == 1
    assert before is None
    assert after is not None
    assert (after.number, worker.begin(after)["depth"]) == (1, 4)
    assert last is None


def test_what_else_keeps_a_point_waiting_is_said(store: Store) -> None:
    study = create_study(store, budget={"trials": 9, "target": 0.4})
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    worker.finish(claim, 0.5)
    request_study(store, study.name, StudyState.PAUSED)

    text = str(enqueue_points(store, study.name, [Point({"depth": 4})]))

    assert "it takes no more trials (the target 0.4 is reached: 0.5)" in text
    assert "it is paused: 'hpo resume synthetic' lets it go on" in text


def test_points_beyond_the_budget_do_not_keep_paused_trials_from_ending(store: Store) -> None:
    """A study with rungs is over when what is paused at them ends, whatever waits for an extension."""
    study = create_study(store, sampler="random", pruner={"name": "asha", "min_epochs": 1}, budget={"trials": 1})
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    worker.report(claim, 1, 0.5)
    worker.pause_at_rung(claim)

    enqueue_points(store, study.name, [Point({"depth": 4})])
    newest = standstill(store, study.study_id)

    assert newest is not None
    assert end_paused_trials(store, study.study_id, since=newest) == [0]
    assert load_progress(store, study.study_id).is_over


def test_a_waiting_trial_that_is_stopped_makes_room_for_an_equal_one(store: Store, study: StoredStudy) -> None:
    enqueue_points(store, study.name, [Point({"depth": 4})])
    request_trial(store, study.name, 0, Request.STOP)

    assert enqueue_points(store, study.name, [Point({"depth": 4})]).numbers == (1,)


# ---- what is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["learning=1"], "'learning' is not searched"),
        (["dept=2"], "'dept' is not searched, did you mean 'depth'?"),
        (["depth=9"], "'depth': 9 lies outside 1 to 4"),
        (["depth=2.0"], "'depth': 2.0 is not an integer; write 2"),
        (["depth=two"], "'depth': 'two' is a text, not an integer"),
        (["depth="], "'depth': '' is a text, not an integer"),
        (["lr=fast"], "'lr': 'fast' is a text, not a number"),
        (["lr=nan"], "'lr': nan lies outside 0.0001 to 0.1, log"),
        (["lr=inf"], "'lr': inf lies outside"),
        (["dropout=0.25"], "'dropout': 0.25 is not on the grid 0.0 to 0.5, step 0.1"),
        (["optimizer=rmsprop"], "'optimizer': 'rmsprop' is not one of 'adam', 'sgd'"),
        (["optimizer=adam", "momentum=0.5"], "'momentum' is given, but is active only when optimizer is 'sgd'"),
        (["momentum=0.5"], "'momentum' exists only when optimizer is 'sgd': give 'optimizer' too"),
        (["width=64"], "'width' is not searched: it is 32 in every trial"),
    ],
)
def test_a_point_that_the_study_cannot_train_is_refused_with_a_reason(
    sqlite_store: Store, words: list[str], message: str
) -> None:
    resolved = ResolvedStudy(make_spec(), SPACE, {"model": {"width": 32}, "data": {}})
    create_or_continue(sqlite_store, resolved)

    with pytest.raises(SpecError) as refused:
        enqueue_points(sqlite_store, "synthetic", [point_of_words(words)])

    assert str(refused.value).startswith(f"study 'synthetic': {message}")
    assert rows_of(sqlite_store) == []


def test_all_problems_of_all_rows_are_told_and_nothing_is_entered(
    store: Store, study: StoredStudy, tmp_path: Path
) -> None:
    file = tmp_path / "points.csv"
    file.write_text("lr,optimizer,momentum\n0.01,adam,\n1,sgd,2\n\n0.01,adam,0.5\n")

    with pytest.raises(SpecError) as refused:
        enqueue_points(store, study.name, read_points(file))

    assert str(refused.value).splitlines() == [
        "study 'synthetic':",
        f"  {file}:3: 'lr': 1 lies outside 0.0001 to 0.1, log",
        f"  {file}:3: 'momentum': 2 lies outside 0.0 to 0.99",
        f"  {file}:5: 'momentum' is given, but is active only when optimizer is 'sgd'",
        "Nothing was entered",
    ]
    assert rows_of(store) == []


def test_empty_cells_are_left_to_the_sampler(store: Store, study: StoredStudy, tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_bytes('\ufefflr, optimizer ,momentum\r\n0.01,adam,\r\n,"sgd",0.5\r\n'.encode())

    entered = enqueue_points(store, study.name, read_points(file))

    assert entered.numbers == (0, 1)
    assert [given for _, _, given in rows_of(store)] == [
        {"lr": 0.01, "optimizer": "adam"},
        {"optimizer": "sgd", "momentum": 0.5},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it should have a header"),
        (b"lr,depth\n", "has a header and no points"),
        (b"lr,lr\n0.1,0.1\n", ":1: 'lr' appears twice"),
        (b"lr,\n0.1,2\n", ":1: column 2 has no name"),
        (b"lr,depth\n0.1\n0.1,2,3\n", ":2: 1 cells, and the header has 2"),
        (b"lr\n\xff\xfe\n", "is not a CSV file in UTF-8"),
        (b'lr\n"0.1\n', "is not a CSV file in UTF-8"),
    ],
)
def test_a_file_without_points_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "points.csv"
    file.write_bytes(content)

    with pytest.raises(SpecError) as refused:
        read_points(file)

    assert message in str(refused.value)


def test_studies_that_take_no_points_say_why(store: Store) -> None:
    create_study(store, GRID, study="grid", sampler="grid", budget={"trials": 3})
    with optuna_storage(store.url) as storage:
        optuna.create_study(study_name="theirs", storage=storage)

    with pytest.raises(SpecError, match=r"study 'grid' tries every point of its grid"):
        enqueue_points(store, "grid", [Point({"depth": 2})])
    with pytest.raises(StoreError, match="created by another program"):
        enqueue_points(store, "theirs", [Point({"depth": 2})])
    with pytest.raises(StoreError, match="no study 'gird', did you mean 'grid'"):
        enqueue_points(store, "gird", [Point({"depth": 2})])
    with pytest.raises(SpecError, match=r"no parameter has a value; the study searches lr, optimizer"):
        enqueue_points(store, create_study(store).name, [Point({})])


# ---- from Python


def test_python_enqueues_values_also_those_of_numpy(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    create_study(store, budget={"trials": 2})
    study = LiveStudy(store, "synthetic")

    first = study.enqueue(lr=np.float64(0.01), depth=np.int64(2))
    others = study.enqueue_many([{"depth": 3}, {"depth": 2, "lr": 0.01}, {"optimizer": "sgd"}])
    with pytest.raises(SpecError) as refused:
        study.enqueue_many([{"depth": True}, {"depth": 2}])

    assert (first, others) == (0, [1, 0, 2])
    assert rows_of(store)[0][2] == {"lr": 0.01, "depth": 2}
    assert "trials=+1" in caplog.text
    assert "point 0: 'depth': True is not an integer" in str(refused.value)


# ---- at once
