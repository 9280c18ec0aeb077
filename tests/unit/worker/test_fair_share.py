"""Shares of a worker's slots, with a clock that only counts."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import pytest

from hpo.worker.fair_share import FairShare


def simulate(
    priorities: Mapping[int, float],
    *,
    slots: int,
    until: float,
    seconds: Mapping[int, float] | None = None,
    arrives: Mapping[int, float] | None = None,
    since: float = 0.0,
) -> dict[int, float]:
    """Seconds that each study got after the moment `since`; a study's trials last for `seconds`, by default one."""
    shares, got = FairShare(), dict.fromkeys(priorities, 0.0)
    running: list[tuple[float, int]] = []  # (end, study)
    now = 0.0
    while now < until:
        while len(running) < slots:
            here = [study for study in priorities if (arrives or {}).get(study, 0.0) <= now]
            study = min(here, key=shares.turn)
            lasts = (seconds or {}).get(study, 1.0)
            shares.begin(study, priority=priorities[study])
            heapq.heappush(running, (now + lasts, study))
        now, study = heapq.heappop(running)
        lasts = (seconds or {}).get(study, 1.0)
        shares.end(study, priority=priorities[study], seconds=lasts)
        got[study] += lasts if now > since else 0.0
    return got


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
def test_slots_are_shared_by_priority(slots: int) -> None:
    got = simulate({1: 3.0, 2: 1.0}, slots=slots, until=100)

    assert got[1] == pytest.approx(0.75 * 100 * slots, rel=0.05)
    assert got[2] == pytest.approx(0.25 * 100 * slots, rel=0.05)


@pytest.mark.parametrize("slots", [1, 4])
def test_shares_are_of_time_and_not_of_trials(slots: int) -> None:
    got = simulate({1: 1.0, 2: 1.0}, slots=slots, until=600, seconds={1: 0.5, 2: 10.0})

    assert got[1] == pytest.approx(got[2], rel=0.1)


def test_three_equal_studies_take_turns() -> None:
    got = simulate({1: 1.0, 2: 1.0, 3: 1.0}, slots=1, until=30)

    assert got == {1: 10.0, 2: 10.0, 3: 10.0}


def test_a_study_that_comes_late_is_not_paid_for_the_time_before() -> None:
    got = simulate({1: 1.0, 2: 1.0}, slots=1, until=150, arrives={2: 100}, since=100)

    assert got[1] == pytest.approx(25, abs=2)
    assert got[2] == pytest.approx(25, abs=2)


def test_a_priority_that_changes_counts_from_then_on() -> None:
    shares = FairShare()
    order: list[int] = []
    for _ in range(40):
        study = min((1, 2), key=shares.turn)
        priority = {1: 4.0 if len(order) >= 20 else 1.0, 2: 1.0}[study]
        shares.begin(study, priority=priority)
        shares.end(study, priority=priority, seconds=1.0)
        order.append(study)

    assert order[:20].count(1) == 10
    assert order[20:].count(1) == 16
