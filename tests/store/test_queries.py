"""Queries of trials, on both databases: columns are what records have, and choose, sort, group and compare."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from projects.synthetic import Claimant, begin_next, create_study
from sqlalchemy import update
from stores import hand_back

from hpo.errors import SpecError
from hpo.queue.control import request_trial
from hpo.results.columns import OWN
from hpo.results.query import Query, rows_of
from hpo.results.study import Study
from hpo.space import Choice, Float, Parameter, SearchSpace
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_epochs, hpo_trials, trials
from hpo.study.states import Request

POINT = {"lr": 0.01, "optimizer": "adam", "depth": 2, "dropout": 0.1}
SGD = {"lr": 0.02, "optimizer": "sgd", "momentum": 0.5, "depth": 3, "dropout": 0.2}


@pytest.fixture
def filled(store: Store) -> Study:
    """A study with a trial in every state, two of another program, and one that was tried twice."""
    study = create_study(store, budget={"trials": 100})
    worker = Claimant(store, study)
    train(worker, POINT, [0.5, 0.9, 0.8], best_epoch=2, checkpoint="/somewhere/best.ckpt")  # 0
    train(worker, SGD, [0.6, 0.7], best_epoch=2)  # 1
    train(worker, SGD | {"depth": 1}, [0.2, 0.4, 0.3], state="PRUNED", cause="stopped: by request")  # 2
    train(
        worker, POINT | {"depth": 4}, [0.1], state="FAIL", cause="error: ValueError", error="ValueError: too large"
    )  # 3
    claim = begin(worker, POINT | {"lr": 0.05}, [0.3])  # 4: idle
    hand_back(store, claim)
    request_trial(store, study.name, 4, Request.PAUSE)
    begin(worker, SGD | {"lr": 0.001}, [0.65, float("nan")])  # 5: runs
    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(study_name=study.name, storage=storage)
        theirs.enqueue_trial({"lr": 0.03}, user_attrs={"wish": "high", "size": 3})  # 6
        other = {"alpha": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b", None])}
        theirs.add_trial(
            optuna.create_trial(
                params={"alpha": 0.5, "kind": None},
                distributions=other,
                value=0.75,
                intermediate_values={1: 0.7, 2: 0.75},
                user_attrs={"wish": "low", "not a number": float("nan")},
            )
        )  # 7
    return Study(store, study.name)


def begin(worker: Claimant, point: dict[str, Any], curve: list[float]) -> Any:
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim, point=point)
    for epoch, value in enumerate(curve, start=1):
        if value == value:
            worker.report(claim, epoch, value)
    return claim


def train(worker: Claimant, point: dict[str, Any], curve: list[float], *, state: str = "COMPLETE", **end: Any) -> None:
    claim = begin(worker, point, curve)
    value = max(curve) if state == "COMPLETE" else curve[-1] if state == "PRUNED" else None
    assert worker.finish(claim, value, state=state, **end)


def numbers(study: Study, where: str | None = None, sort: str | None = None) -> list[int]:
    return [record.number for record in study.trials(where=where, sort=sort, has_curves=False)]


# ---- columns


def test_the_columns_of_trials_are_what_their_records_have(filled: Study) -> None:
    records = filled.trials()

    rows = rows_of(filled.table_of(Query.of(columns=OWN)))

    assert [record.state for record in records] == [
        *("complete", "complete", "pruned", "failed", "idle", "running", "waiting", "complete")
    ]
    for record, row in zip(records, rows, strict=True):
        assert row == {name: getattr(record, name) for name in OWN}


def test_all_columns_are_those_of_rows_of_records(filled: Study) -> None:
    records = filled.trials()

    rows = rows_of(filled.table_of(Query.of()))

    times = [(row.pop("started"), row.pop("ended")) for row in rows]
    assert times == [(record.started, record.ended) for record in records]
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == [
        {name: value for name, value in record.row().items() if value is not None} for record in records
    ]


def test_metrics_are_those_of_the_best_epoch(filled: Study) -> None:
    table = filled.table_of(Query.of(columns="number,val_loss,metrics_val_accuracy"))

    losses = [None if value is None else round(value, 6) for value in table["val_loss"]]
    assert losses == [0.1, 0.3, 0.6, None, 0.7, 0.35, None, None]
    assert table["metrics_val_accuracy"] == [0.9, 0.7, 0.4, None, 0.3, 0.65, None, None]


def test_arguments_attributes_and_names_with_a_prefix_are_columns(store: Store, filled: Study) -> None:
    with store.write() as connection:
        config = (
            '{"model": {"class": "m:Net", "width": 7, "lr": 9.0}, "data": {"class": "d:D", "size": 1}, "epochs": 5}'
        )
        connection.execute(update(hpo_trials).values(config=config))
        connection.execute(update(hpo_epochs).values(metrics='{"lr": 0.125, "epochs": 3}'))

    table = filled.table_of(
        Query.of(columns="width,config_lr,params_lr,metrics_lr,size,attributes_size,wish,config_epochs,metrics_epochs")
    )

    assert [values[0] for values in table.values()] == [7, 9.0, 0.01, 0.125, 1, None, None, 5, 3]
    assert table["attributes_size"][6] == 3
    assert table["wish"][6:] == ["high", "low"]
    assert numbers(filled, "epochs == 3") == [0, 2]  # the trial's own, not the metric
    assert numbers(filled, "metrics_epochs == 3 and params_lr == 0.01") == [0]


def test_the_parameter_called_as_a_column_is_asked_for_by_its_prefix(store: Store) -> None:
    space = SearchSpace((Parameter("value", Float(0, 1)), Parameter("worker", Choice("a", "b"))))
    study = create_study(store, space)
    train(Claimant(store, study), {"value": 0.25, "worker": "b"}, [0.5], best_epoch=1)
    found = Study(store, study.name)

    assert numbers(found, "params_value == 0.25 and value == 0.5 and params_worker == 'b'") == [0]
    assert found.table_of(Query.of(columns="value,params_value")) == {"value": [0.5], "params_value": [0.25]}


# ---- choosing and sorting


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("optimizer == 'sgd' and seconds < 60", [1, 2]),
        ("state in ['complete', 'pruned'] and value >= 0.7", [0, 1, 7]),
        ("momentum is None", [0, 3, 4, 6, 7]),
        ("attempts == 1 and epochs > 1", [0, 1, 2]),
        ("cause == 'error: ValueError' and 'large' in error", [3]),
        ("device == 'cpu' and worker == 'here:1' and depth > 2", [1, 3, 5]),
        ("alpha == 0.5", [7]),
        ("wish == 'low'", [7]),
        ("val_loss < 0.2 or best_epoch == 1", [0, 4, 5]),
        ("checkpoint is not None", [0]),
        ("ended is None", [4, 5, 6]),
        ("number > 100", []),
    ],
)
def test_trials_are_chosen_by_an_expression(filled: Study, where: str, expected: list[int]) -> None:
    assert numbers(filled, where) == expected


def test_trials_are_chosen_by_their_time(store: Store, filled: Study) -> None:
    begun = filled.trials()[0].started
    assert begun is not None
    with store.write() as connection:
        later = begun.replace(microsecond=0) + timedelta(days=2)
        connection.execute(update(trials).where(trials.c.number == 1).values(datetime_start=later))

    day = (begun + timedelta(days=1)).isoformat(" ", "seconds")

    assert numbers(filled, f"started > '{day}'") == [1]
    assert 1 not in numbers(filled, f"started <= '{day}'")


def test_trials_are_sorted_and_those_without_a_value_are_last(filled: Study) -> None:
    assert numbers(filled, sort="-value") == [0, 7, 1, 5, 2, 4, 3, 6]
    assert numbers(filled, sort="value") == [4, 2, 5, 1, 7, 0, 3, 6]
    assert numbers(filled, "depth > 0", sort="optimizer,-depth,number") == [3, 0, 4, 1, 5, 2]
    assert [record.number for record in filled.trials(sort=["-number"])] == [*range(7, -1, -1)]


def test_records_that_are_asked_for_have_their_curves(filled: Study) -> None:
    [record] = filled.trials(where="number == 1")

    assert record == filled.trials()[1]
    assert len(record.curve) == 2


def test_thousands_of_chosen_trials_are_read_at_once(filled: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.results.study.MOST_BY_NUMBER", 2)

    assert numbers(filled, "number >= 0", sort="-number") == [*range(7, -1, -1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"where": "optimzer == 'adam'"},
            "where: there is no column 'optimzer', did you mean 'optimizer'? Columns: number",
        ),
        ({"where": "optimizer == adam"}, "A text is written in quotes: 'adam'"),
        ({"where": "optimizer < 3"}, "where: character 1, optimizer: has texts, but 3 is a number"),
        ({"where": "state == 'completed'"}, "did you mean 'complete'? It is one of waiting, running"),
        ({"sort": "vale"}, "sort: there is no column 'vale', did you mean 'value'?"),
        ({"sort": "value,,number"}, "sort: a name is missing: names are separated by commas"),
        ({"where": "foo(1)"}, "where: character 1, foo(1): a call is not allowed"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(filled: Study, options: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        filled.trials(**options)  # type: ignore[arg-type]

    assert message in str(caught.value)


# ---- the best


def best(study: Study, k: int, where: str | None = None, by: str | None = None) -> list[int]:
    return [record.number for record in study.best(k, where=where, by=by)]


def test_the_best_are_ranked_among_those_that_are_asked_for(filled: Study) -> None:
    assert best(filled, 5) == [0, 7, 1]
    assert best(filled, 5, "optimizer == 'sgd'") == [1]
    assert best(filled, 1, "state == 'pruned' or depth == 4") == [2]  # while none of them is complete
    assert best(filled, 5, "number > 100") == []


def test_the_best_of_each_group_come_with_the_best_group_first(filled: Study) -> None:
    assert best(filled, 1, by="optimizer") == [0, 7, 1]
    assert best(filled, 2, "optimizer is not None", by="optimizer") == [0, 1]
    assert best(filled, 2, by="depth") == [0, 7, 1, 2]  # depth 1 has no complete trial, and the trial of depth 4 failed
    assert best(filled, 1, by="optimizer,depth") == [0, 7, 1, 2]


def test_the_best_may_be_shown_in_another_order(filled: Study) -> None:
    assert [record.number for record in filled.best_of(Query.of(sort="number"), 2)] == [0, 7]
    assert filled.table_of(Query.of(sort="-number", columns="number,lr"), best=2) == {
        "number": [7, 0],
        "params_lr": [None, 0.01],
    }


def test_of_several_objectives_the_pareto_front_of_those_asked_for_is_shown(store: Store) -> None:
    with optuna_storage(store.url) as storage:
        theirs = optuna.create_study(study_name="two", storage=storage, directions=["minimize", "maximize"])
        for kind, values in (("a", [1.0, 1.0]), ("a", [2.0, 3.0]), ("b", [0.5, 5.0]), ("b", [3.0, 1.0])):
            theirs.add_trial(
                optuna.create_trial(
                    params={"kind": kind}, distributions={"kind": CategoricalDistribution(["a", "b"])}, values=values
                )
            )
    study = Study(store, "two")

    assert best(study, 5) == [2]
    assert best(study, 5, "kind == 'a'") == [0, 1]
    assert best(study, 5, by="kind") == [2, 0, 1]


# ---- frames


@pytest.mark.parametrize("engine", ["pandas", "polars"])
def test_a_frame_has_the_chosen_columns_of_the_chosen_trials(filled: Study, engine: Any) -> None:
    frame = filled.frame(
        where="value > 0.6", sort="-value", columns="number,value,lr,val_loss,optimizer,started", engine=engine
    )

    assert type(frame).__module__.startswith(engine)
    assert list(frame.columns) == ["number", "value", "params_lr", "val_loss", "params_optimizer", "started"]
    assert frame["number"].to_list() == [0, 7, 1, 5]
    assert frame["params_optimizer"].to_list()[2] == "sgd"
    assert frame["started"].to_list()[0] == filled.trials()[0].started


@pytest.mark.parametrize("engine", ["pandas", "polars"])
def test_a_frame_of_all_columns_is_read_whatever_their_values_are(store: Store, filled: Study, engine: Any) -> None:
    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(study_name=filled.name, storage=storage)
        category = CategoricalDistribution([1, 0.5, "text", False])
        for value in category.choices:
            theirs.add_trial(optuna.create_trial(params={"mixed": value}, distributions={"mixed": category}, value=0.0))

    frame = filled.frame(engine=engine)

    assert len(frame) == 12
    assert "".join(map(str, frame["params_mixed"].to_list()[-4:])) == "10.5textFalse"
    assert frame["params_kind"].to_list()[7] is None


@pytest.mark.parametrize("engine", ["pandas", "polars"])
def test_curves_are_a_long_frame(filled: Study, engine: Any) -> None:
    everything = filled.curves(engine=engine)
    some = filled.curves(where="optimizer == 'sgd' and state == 'complete'", metrics="val_accuracy", engine=engine)

    assert list(everything.columns) == ["number", "epoch", "metric", "value"]
    assert len(everything) == 2 * (3 + 2 + 3 + 1 + 1 + 1) + 2
    assert [some[name].to_list() for name in some.columns] == [[1, 1], [1, 2], ["val_accuracy"] * 2, [0.6, 0.7]]
    assert everything["metric"].to_list()[-2:] == ["value", "value"]
    assert everything["number"].to_list() == sorted(everything["number"].to_list())


def test_curves_of_a_study_in_steps_are_by_step(store: Store) -> None:
    study = create_study(store, epochs=None, steps=100, study="in-steps")
    begin_next(Claimant(store, study), 0.5)

    assert list(Study(store, "in-steps").curves().columns) == ["number", "step", "metric", "value"]


def test_a_metric_that_no_epoch_has_is_refused(filled: Study) -> None:
    with pytest.raises(
        SpecError, match=r"metrics: no epoch has 'val_los', did you mean 'val_loss'\? There are val_acc"
    ):
        filled.curves(metrics=["val_los"])


def test_without_polars_it_is_said_how_to_get_it(filled: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(SpecError, match=r"Polars is not installed: pip install 'hpo-service\[polars\]'"):
        filled.frame(engine="polars")
    with pytest.raises(SpecError, match="there is no 'polar', did you mean 'polars'"):
        filled.frame(engine="polar")  # type: ignore[call-overload]


# ---- two studies


def differences(found: Any) -> dict[str, tuple[Any, Any]]:
    return {one.name: (one.a, one.b) for one in found}


def test_two_studies_are_compared_key_by_key(store: Store, filled: Study) -> None:
    space = SearchSpace((Parameter("lr", Float(1e-4, 1.0, log=True)), Parameter("width", Float(1, 2))))
    other = create_study(
        store,
        space,
        study="other",
        epochs=3,
        pruner={"name": "asha", "eta": 2},
    )
    train(Claimant(store, other), {"lr": 0.5, "width": 1.5}, [0.95], best_epoch=1)

    found = filled.diff(Study(store, "other"))

    assert (found.a, found.b, found.is_comparable) == ("synthetic", "other", True)
    assert differences(found.file) == {"epochs": (9, 3), "pruner.eta": (None, 2)}
    space_differences = differences(found.space)
    assert space_differences["lr"][0].startswith("0.0001 to 0.1, log")
    assert space_differences["lr"][1].startswith("0.0001 to 1.0, log")
    assert space_differences["depth"][1] is None
    assert space_differences["width"][0] is None
    outcome = differences(found.outcome)
    assert (outcome["best value"], outcome["best trial"]) == ((0.9, 0.95), (0, 0))
    assert (outcome["complete"], outcome["failed"], outcome["waiting"]) == ((2, 1), (1, 0), (1, 0))
    assert outcome["epochs"] == (13, 1)
    assert differences(found.best)["lr"] == (0.01, 0.5)
    assert found.remarks == [
        "The data and the code of synthetic are not known.",
        "The data and the code of other are not known.",
    ]


def test_studies_with_other_objectives_are_not_comparable(store: Store, filled: Study) -> None:
    create_study(store, study="other", objective={"metric": "val_loss", "direction": "minimize"})

    found = filled.diff(Study(store, "other"))

    assert not found.is_comparable
    assert found.remarks[0] == (
        "Their values cannot be compared: the objective of synthetic is to maximize val_accuracy, that of other to "
        "minimize val_loss."
    )


def test_a_study_of_another_program_is_compared_by_its_outcome(store: Store, filled: Study) -> None:
    with optuna_storage(store.url) as storage:
        theirs = optuna.create_study(study_name="theirs", storage=storage, direction="maximize")
        theirs.add_trial(optuna.create_trial(params={}, distributions={}, value=0.5))

    found = Study(store, "theirs").diff(filled)

    assert (found.file, found.inputs) == ((), ())
    assert differences(found.outcome)["best value"] == (0.5, 0.9)
    assert "theirs was made by another program: it has no study file and no search space here." in found.remarks
    assert found.to_json()["outcome"][0] == {"name": "state", "a": "running", "b": "running"}
