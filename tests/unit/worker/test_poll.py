"""How often workers poll the store."""

from __future__ import annotations

import pytest

from hpo.store.timing import Timing
from hpo.worker.poll import LONGEST_FACTOR, Poll


@pytest.mark.parametrize(("workers", "seconds"), [(0, 1.0), (1, 1.0), (50, 1.0), (100, 2.0), (1000, 2.5)])
def test_the_more_workers_poll_the_less_often_each_of_them_does(workers: int, seconds: float) -> None:
    assert Poll({}, has_lost=False, workers=workers).pause == seconds


def test_a_lost_trial_is_seen_within_three_heartbeats_by_the_largest_fleet() -> None:
    timing = Timing()

    assert timing.lease + LONGEST_FACTOR * timing.poll < 3 * timing.heartbeat
