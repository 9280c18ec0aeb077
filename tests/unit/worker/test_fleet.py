"""How often workers poll the store, read others' trials and try to claim."""

from __future__ import annotations

import itertools

import pytest

from hpo.store.timing import Timing
from hpo.worker.fleet import FIRST_BUSY_PAUSE, LONGEST_FACTOR, next_busy_pause, poll_pause, sync_pause


@pytest.mark.parametrize(("workers", "seconds"), [(0, 1.0), (1, 1.0), (50, 1.0), (100, 2.0), (1000, 2.5)])
def test_the_more_workers_poll_the_less_often_each_of_them_does(workers: int, seconds: float) -> None:
    assert poll_pause(1.0, workers=workers, took=0.0) == seconds


def test_a_lost_trial_is_seen_within_three_heartbeats_by_the_largest_fleet() -> None:
    timing = Timing()

    assert timing.lease + LONGEST_FACTOR * timing.poll < 3 * timing.heartbeat


@pytest.mark.parametrize(("workers", "seconds"), [(1, 8.0), (40, 8.0), (400, 80.0)])
def test_slow_polls_of_all_workers_leave_connections_to_others(workers: int, seconds: float) -> None:
    """Each takes 2 s: those of 400 workers are then under way for 2 of 82 s, which are ten at a time."""
    assert poll_pause(1.0, workers=workers, took=2.0) == seconds


@pytest.mark.parametrize("workers", [1, 10, 100, 1000])
def test_others_curves_take_a_tenth_of_a_workers_time_and_half_of_one_of_all_workers(workers: int) -> None:
    share = 1 / (1 + sync_pause(workers=workers, took=1.0))

    assert share <= 0.1
    assert workers < 10 or workers * share <= 0.5


@pytest.mark.parametrize(("workers", "longest"), [(2, FIRST_BUSY_PAUSE), (100, 1.0), (400, 4.0)])
def test_claims_that_find_another_one_under_way_double_their_pause(workers: int, longest: float) -> None:
    pauses = [FIRST_BUSY_PAUSE]
    for _ in range(10):
        pauses.append(next_busy_pause(pauses[-1], workers=workers))

    assert pauses[-1] == longest
    assert all(later in (2 * earlier, longest) for earlier, later in itertools.pairwise(pauses))
