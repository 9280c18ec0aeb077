"""The pace of a search: the epochs of a minute."""

from __future__ import annotations

import pytest

from hpo.worker.time_left import Pace


def test_nothing_counts_before_the_first_epoch_has_ended() -> None:
    pace = Pace()
    for second in range(60):  # torch is imported, the first batches are compiled
        pace.take(float(second), epochs=4)

    assert pace.epochs_a_minute is None
    for second in range(60, 101):
        pace.take(float(second), epochs=5 + (second - 60) // 2)

    assert pace.epochs_a_minute == pytest.approx(30, rel=0.1)


def test_the_latter_half_of_the_time_counts() -> None:
    """Trials were small for the first minute, and are large in the second one."""
    pace, epochs = Pace(), 0
    for second in range(121):
        epochs += 10 if second <= 60 else second % 2
        pace.take(float(second), epochs=epochs)

    assert pace.epochs_a_minute == pytest.approx(30, rel=0.1)


def test_a_long_run_keeps_few_samples_and_the_same_pace() -> None:
    pace = Pace()
    for tick in range(20_000):
        pace.take(tick / 4, epochs=tick // 8)

    assert pace.epochs_a_minute == pytest.approx(30, rel=0.05)
    assert len(pace._samples) <= 500
