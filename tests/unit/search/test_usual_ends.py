"""What pruners usually stop: by the rules of each, in a study's own epochs."""

from __future__ import annotations

from typing import Any

import pytest
from projects.synthetic import make_spec

from hpo.search.usual_ends import startup_trials, usual_shares


def shares(pruner: Any, *, epochs: int = 27) -> dict[int, float]:
    return dict(usual_shares(make_spec(pruner=pruner, epochs=epochs), least=3, eta=3))


@pytest.mark.parametrize("pruner", ["none", "asha", "threshold", {"name": "patient", "patience": 3}])
def test_nothing_is_usual_for_pruners_that_stop_no_fixed_share(pruner: Any) -> None:
    assert shares(pruner) == {}


def test_halving_lets_one_in_eta_pass_each_rung() -> None:
    assert shares({"name": "asha", "mode": "stop"}) == {3: 1 / 3, 9: 1 / 3}
    assert shares({"name": "asha", "mode": "stop", "eta": 2, "min_epochs": 5}) == {5: 0.5, 10: 0.5, 20: 0.5}


def test_the_median_is_first_compared_with_after_the_warm_up() -> None:
    found = shares({"name": "median", "n_warmup_steps": 3}, epochs=7)

    assert list(found) == [4, 5, 6]
    assert found[4] < 0.5 < found[5] == found[6] < 1
    assert shares({"name": "percentile", "percentile": 80})[1] > shares("median")[1]


def test_brackets_of_hyperband_spare_trials_at_their_first_rungs() -> None:
    found = shares("hyperband")

    assert list(found) == [3, 9]
    assert found[3] == pytest.approx((9 / 3 + 5 + 3) / 17)
    assert 1 / 3 < found[9] < found[3]


def test_startup_trials_are_those_of_the_median() -> None:
    found = ("median", {"name": "median", "n_startup_trials": 9}, "hyperband")

    assert [startup_trials(make_spec(pruner=pruner)) for pruner in found] == [5, 9, 0]
