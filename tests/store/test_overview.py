"""All studies, and all trials of a study, are read by a number of statements that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import optuna
import pytest
from projects.synthetic import Claimant, begin_next, create_study
from sqlalchemy import event
from stores import ask_study, ask_trial, hand_back

from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """The SQL that the store executes while the block lasts."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield found
    event.remove(store.engine, "before_cursor_execute", note)


def fill(store: Store) -> None:
    """Studies in every state: complete, begun, limited, paused, of another program, of two objectives, empty."""
    complete = Claimant(store, create_study(store, study="complete", budget={"trials": 2}))
    for value in (0.9, 0.5):
        assert complete.finish(begin_next(complete, 0.1, value), value, best_epoch=2)
    begun = Claimant(
        store, create_study(store, study="begun", objective={"metric": "val_loss", "direction": "minimize"})
    )
    _, idle, held = begin_next(begun, 0.4, 0.2), begin_next(begun, 0.3), begin_next(begun, 0.1, 0.25)
    for claim in (idle, held):
        hand_back(store, claim)
    ask_trial(store, "begun", held.number, "pause")
    limited = Claimant(store, create_study(store, study="limited", budget={"trials": 9, "hours": 8, "target": 0.5}))
    assert limited.finish(begin_next(limited, 0.7), 0.7)
    failing = Claimant(store, create_study(store, study="failing"))
    assert failing.finish(
        begin_next(failing, 0.7), None, state="FAIL", cause="error: ValueError", error="ValueError: x"
    )
    create_study(store, study="empty")
    create_study(store, study="paused")
    ask_study(store, "paused", "pause")
    with optuna_storage(store.url) as storage:
        up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        for name, directions in (("foreign", [down]), ("two", [down, up])):
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
            for number in range(3):
                study.add_trial(
                    optuna.create_trial(
                        params={"x": number / 3},
                        distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
                        values=[float(number)] * len(directions),
                    )
                )
        mixed = optuna.load_study(storage=storage, study_name="begun")
        mixed.add_trial(optuna.create_trial(state=optuna.trial.TrialState.PRUNED, intermediate_values={3: 0.01}))


def test_the_overview_of_all_studies_is_what_each_says_of_itself(store: Store) -> None:
    fill(store)

    found = list_studies(store)

    assert [study.study for study in found] == [
        "complete",
        "begun",
        "limited",
        "failing",
        "empty",
        "paused",
        "foreign",
        "two",
    ]
    for study in found:
        own = Study(store, study.study).status()
        if own.best is not None:
            own = replace(own, best=replace(own.best, curve=()))
        workers = [replace(worker, seconds_since_beat=0.0) for worker in study.workers]
        own_workers = [replace(worker, seconds_since_beat=0.0) for worker in own.workers]
        budget = {name: part for name, part in study.budget.items() if name != "hours"}
        own_budget = {name: part for name, part in own.budget.items() if name != "hours"}
        assert workers == own_workers
        assert budget == own_budget
        assert replace(study, workers=(), budget={}) == replace(own, workers=(), budget={})
    assert [study.best.number if study.best else None for study in found][:4] == [0, 3, 0, None]


def test_more_studies_take_no_more_statements(store: Store) -> None:
    def add(names: str) -> None:
        for name in names:
            worker = Claimant(store, create_study(store, study=f"study-{name}"))
            assert worker.finish(begin_next(worker, 0.5), 0.5)

    def count() -> int:
        with statements(store) as executed:
            assert list_studies(store)
        return len(executed)

    add("ab")
    few = count()
    add("cdefgh")

    assert count() == few


def test_more_trials_take_no_more_statements(store: Store) -> None:
    worker = Claimant(store, create_study(store))
    counts = []
    for number in (2, 9):
        for _ in range(number):
            assert worker.finish(begin_next(worker, 0.1, 0.5), 0.5)
        with statements(store) as executed:
            assert Study(store, "synthetic").trials(has_curves=False)
        counts.append(len(executed))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("study", ["complete", "begun", "failing", "foreign", "two"])
def test_trials_without_their_curves_are_the_same_but_for_these(store: Store, study: str) -> None:
    fill(store)
    whole = Study(store, study).trials()
    assert [record.epochs for record in whole] == [record.curve[-1][0] if record.curve else 0 for record in whole]

    with statements(store) as executed:
        bare = Study(store, study).trials(has_curves=False)

    assert bare == [replace(record, curve=(), provenance=None) for record in whole]
    assert not [statement for statement in executed if "metrics" in statement]
