"""Importances of parameters: what matters is found, what does not is not claimed, and few trials are called few."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from hpo.report.importances import LEAST_TRIALS, importances
from hpo.study.states import Direction

SPACE: dict[str, BaseDistribution] = {
    **{name: FloatDistribution(0.0, 1.0) for name in ("lr", "dropout", "width")},
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
}


def trials(number: int, *, noise: float = 0.0, matters: bool = True, seed: int = 0) -> list[FrozenTrial]:
    """Of which only `lr` decides on the value, if anything does."""
    chance = np.random.default_rng(seed)
    found = []
    for place in range(number):
        params = {name: float(chance.random()) for name in ("lr", "dropout", "width")}
        params |= {"optimizer": str(chance.choice(["adam", "sgd"]))}  # type: ignore[dict-item]
        value = (params["lr"] if matters else 0.0) + noise * float(chance.normal())
        trial = create_trial(params=params, distributions=SPACE, value=value)
        trial.number = trial._trial_id = place
        found.append(trial)
    return found


@pytest.mark.parametrize("direction", list(Direction))
def test_the_parameter_that_decides_is_found_with_its_spread(direction: Direction) -> None:
    found = importances("study", trials(200), direction)

    first, *others = found.parameters
    assert (first.name, first.matters) == ("lr", "yes")
    assert first.low <= first.value <= first.high
    assert {one.matters for one in others} == {"little"}
    assert sum(one.value for one in found.parameters) == pytest.approx(1)
    assert (found.trials, found.best, found.remark) == (200, 20, None)


def test_a_value_that_no_parameter_decides_on_is_said_to_tell_nothing() -> None:
    remarks = [
        importances("study", trials(30, noise=1.0, matters=False, seed=seed), Direction.MAXIMIZE).remark
        for seed in range(5)
    ]

    told = [remark for remark in remarks if remark is None]
    assert len(told) <= 1  # of five searches of chance alone
    assert {remark.split(":")[0] for remark in remarks if remark is not None} == {"too few trials to tell"}


def test_fewer_trials_than_are_needed_have_no_importances() -> None:
    few = importances("study", trials(LEAST_TRIALS - 1), Direction.MAXIMIZE)
    enough = importances("study", trials(LEAST_TRIALS), Direction.MAXIMIZE)

    assert few.parameters == ()
    assert few.remark == "too few trials to tell: 19 complete trials, and 20 are needed at least"
    assert len(enough.parameters) == len(SPACE)
    assert enough.best == 5


def test_the_same_trials_have_the_same_importances() -> None:
    once, again = (importances("study", trials(40, noise=0.3), Direction.MAXIMIZE) for _ in range(2))

    assert once == again
    assert once.to_json()["parameters"][0]["matters"] in ("yes", "little", "cannot tell")


def test_a_pinned_parameter_and_trials_without_a_finite_value_do_not_count() -> None:
    found = trials(30)
    for trial in found:
        trial.distributions = {"lr": SPACE["lr"], "width": FloatDistribution(1.0, 1.0)}
        trial.params = {"lr": trial.params["lr"], "width": 1.0}
    found[0].values = [float("inf")]

    alone = importances("study", found, Direction.MAXIMIZE)

    assert (alone.trials, alone.parameters) == (29, ())
    assert alone.remark == "one parameter is searched: there is nothing to compare"


def test_a_study_without_a_complete_trial_says_so() -> None:
    assert importances("study", [], Direction.MINIMIZE).remark == "no trial is complete"
