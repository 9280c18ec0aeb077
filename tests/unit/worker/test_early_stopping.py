"""Plateaus of curves: a table of cases."""

from __future__ import annotations

import pytest

from hpo.study.states import Direction
from hpo.worker.early_stopping import has_plateaued

# curve, patience, min_delta, whether it has reached a plateau; larger is better
CURVES = [
    ([], 1, 0.0, False),
    ([0.5], 1, 0.0, False),
    ([0.5, 0.5], 1, 0.0, True),  # equal is no improvement
    ([0.5, 0.6], 1, 0.0, False),
    ([0.5, 0.4, 0.3], 3, 0.0, False),
    ([0.5, 0.4, 0.3, 0.2], 3, 0.0, True),
    ([0.5, 0.4, 0.3, 0.6], 3, 0.0, False),  # better than the best, just in time
    ([0.5, 0.4, 0.3, 0.45], 3, 0.0, True),  # better than the last, not than the best
    ([0.5, 0.509, 0.519], 2, 0.01, False),  # both steps are small, together they are not
    ([0.5, 0.504, 0.508], 2, 0.01, True),
    ([0.5, 0.625], 1, 0.125, True),  # an improvement has to be more than min_delta
    ([0.5, 0.7, 0.7], 2, 0.01, False),
    ([0.5, 0.7, 0.7, 0.7], 2, 0.01, True),
    ([-3.0, -2.0, -2.5], 2, 0.0, False),
]


@pytest.mark.parametrize(("curve", "patience", "min_delta", "is_flat"), CURVES)
def test_a_curve_is_at_a_plateau_when_its_last_values_are_no_improvement(
    curve: list[float], patience: int, min_delta: float, is_flat: bool
) -> None:
    falling = [-value for value in curve]

    assert has_plateaued(curve, patience=patience, min_delta=min_delta, direction=Direction.MAXIMIZE) is is_flat
    assert has_plateaued(falling, patience=patience, min_delta=min_delta, direction=Direction.MINIMIZE) is is_flat
