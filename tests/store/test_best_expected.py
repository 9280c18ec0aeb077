"""`best(by="expected")`: curves and repeats of a store tell how noisy the trials are."""

from __future__ import annotations

import numpy as np
import pytest
from projects.synthetic import Claimant, begin_next, create_study

from hpo.errors import SpecError
from hpo.queue.report import report_trainings
from hpo.results.study import Study
from hpo.store import Store

LEVELS = (0.80, 0.82, 0.84, 0.86, 0.88, 0.90)


def curve(level: float, noise: float, seed: int, *, epochs: int = 40) -> list[float]:
    rng = np.random.default_rng(seed)
    return [level - 0.3 * np.exp(-epoch / 3) + noise * rng.standard_normal() for epoch in range(1, epochs + 1)]


def add(worker: Claimant, sign: float, values: list[float], *, state: str = "COMPLETE") -> None:
    signed = [sign * value for value in values]
    worker.finish(begin_next(worker, *signed), sign * max(values), state=state)


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_a_trial_of_a_noisy_curve_is_not_the_best_by_luck(store: Store, direction: str, sign: float) -> None:
    objective = {"metric": "val_accuracy", "direction": direction}
    study = create_study(store, sampler="random", pruner="none", objective=objective, epochs=40)
    worker = Claimant(store, study)
    for number, level in enumerate(LEVELS):
        add(worker, sign, curve(level, 0.001, number))
    add(worker, sign, curve(0.87, 0.03, 6))  # its best epoch is by far the best value
    add(worker, sign, curve(0.99, 0.001, 7), state="PRUNED")
    found = Study(store, study.name)

    by_value, by_expected = found.best(3), found.best(3, by="expected")

    assert by_value[0].number == 6
    assert [record.number for record in by_expected] == [5, 4, 6]
    assert by_value[0].expected is None
    assert "expected" not in by_value[0].to_json()
    first = by_expected[0]
    assert first.expected == pytest.approx(sign * 0.9, abs=0.003)
    assert first.expected is not None
    assert first.expected_low is not None
    assert first.expected_high is not None
    assert first.expected_low < first.expected < first.expected_high
    assert first.to_json()["expected"] == first.expected
    expected = found.expected()
    assert set(expected) == set(range(7))
    assert next(iter(expected)) == 5
    assert sum(one.best for one in expected.values()) == pytest.approx(1.0)
    assert expected[6].deviation > 5 * expected[5].deviation


def test_what_is_expected_can_be_asked_for_like_any_column(store: Store) -> None:
    study = create_study(store, sampler="random", pruner="none", epochs=40)
    worker = Claimant(store, study)
    for number, level in enumerate(LEVELS):
        add(worker, 1.0, curve(level, 0.001, number))
    add(worker, 1.0, curve(0.9, 0.0, 7), state="PRUNED")
    found = Study(store, study.name)

    frame = found.frame(columns="number,expected,expected_low,expected_high", sort="-expected")

    assert list(frame["number"])[:6] == [5, 4, 3, 2, 1, 0]
    assert frame["expected"].isna().tolist() == [False] * 6 + [True]
    assert (frame["expected_low"] < frame["expected"]).tolist()[:6] == [True] * 6
    assert [record.number for record in found.trials(where="expected > 0.87")] == [4, 5]
    [best, *_] = found.best(1, by="expected,optimizer")
    assert best.number == 5


def test_repeats_tell_how_noisy_a_mean_is(store: Store) -> None:
    study = create_study(store, sampler="random", pruner="none", repeats=3)
    worker = Claimant(store, study)
    for results in ([0.90, 0.95, 0.85], [0.91, 0.86, 0.96], [0.80, 0.75, 0.85], [0.5, 0.55, 0.45], [0.7, 0.65, 0.75]):
        claim = begin_next(worker, results[0])
        with store.write() as connection:
            report_trainings(connection, claim, results)
        worker.finish(claim, sum(results) / 3)

    found = Study(store, study.name).expected()

    assert 0.0 < found[1].deviation <= 0.05 / 3**0.5
    assert [number for number, one in found.items() if one.best > 0.01] == [1, 0]


def test_where_nothing_tells_how_noisy_trials_are_the_question_is_refused(store: Store) -> None:
    study = create_study(store, sampler="random", pruner="none")
    found = Study(store, study.name)
    assert found.best(3, by="expected") == []
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5, 0.6), 0.6)

    with pytest.raises(SpecError, match="fewer than five epochs, and neither folds nor repeats"):
        found.best(3, by="expected")
    assert found.expected() == {}
