"""Stores that Optuna's own scripts have made are read as they are, and not changed."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from sqlalchemy import inspect

from hpo.errors import StoreError
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.service.study import Study as LiveStudy
from hpo.store import Store, StoreUrl
from hpo.store.optuna_storage import optuna_storage


def optunas_own(url: str) -> StoreUrl:
    """A store as Optuna alone makes it, with a study of one objective and one of two."""
    parsed = StoreUrl.parse(url)
    storage = optuna.storages.RDBStorage(parsed.reveal())
    one = optuna.create_study(storage=storage, study_name="one", direction="maximize")
    one.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    add_two_objectives(storage)
    storage.remove_session()
    storage.engine.dispose()
    return parsed


def add_two_objectives(storage: optuna.storages.RDBStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="two", directions=["maximize", "minimize"])
    distributions: dict[str, BaseDistribution] = {"a": FloatDistribution(0, 1)}
    for a, b in [(0.1, 0.5), (0.9, 0.9), (0.5, 0.2), (0.4, 0.3), (0.9, 0.95)]:
        study.add_trial(optuna.create_trial(params={"a": a}, distributions=distributions, values=[a, b]))


def test_a_store_without_our_tables_can_be_looked_at_and_stays_as_it_is(new_store_url: Callable[[], str]) -> None:
    url = optunas_own(new_store_url())

    with Store.open(url, is_foreign_allowed=True) as store:
        tables = inspect(store.engine).get_table_names()
        studies = list_studies(store)
        best = Study(store, "one").best(1)[0]

    assert not [name for name in tables if name.startswith("hpo_")]
    assert [(study.study, study.counts["complete"]) for study in studies] == [("one", 3), ("two", 5)]
    assert best.value == best.params["x"]
    with pytest.raises(StoreError, match="holds Optuna studies, but not yet the tables of hpo-service"):
        Store.open(url)


def test_python_opens_a_store_without_our_tables_and_refuses_to_steer_it(new_store_url: Callable[[], str]) -> None:
    url = optunas_own(new_store_url())

    with Store.open(url, is_foreign_allowed=True) as store:
        study = LiveStudy(store, "one")

        assert len(study.trials()) == 3
        with pytest.raises(StoreError, match="created by another program"):
            study.pause()


def test_of_several_objectives_the_best_are_the_pareto_optimal_trials_once_each(store: Store) -> None:
    with optuna_storage(store.url) as storage:
        add_two_objectives(storage)

    found = Study(store, "two")

    assert [(record.number, record.values) for record in found.best(5)] == [(1, (0.9, 0.9)), (2, (0.5, 0.2))]
    assert found.status().best is None
    assert found.status().counts["complete"] == 5
    assert len(found.trials()) == 5
