"""The pace of trials: the seconds of an epoch, and the epochs of a minute."""

from __future__ import annotations

import pytest

from hpo.worker.time_left import Pace


def test_nothing_counts_before_the_first_epoch_has_ended() -> None:
    pace = Pace()
    for second in range(60):  # torch is imported, the first batches are compiled
        pace.take(float(second), epochs=4, running=2)

    assert pace.epoch_seconds is None
    for second in range(60, 101):
        pace.take(float(second), epochs=5 + (second - 60) // 2, running=1)

    assert pace.epoch_seconds == pytest.approx(2, rel=0.1)
    assert pace.epochs_a_minute == pytest.approx(30, rel=0.1)


def test_an_epoch_takes_as_long_in_each_of_several_slots() -> None:
    pace = Pace()
    for second in range(101):
        pace.take(float(second), epochs=second, running=4)

    assert pace.epoch_seconds == pytest.approx(4, rel=0.05)
    assert pace.epochs_a_minute == pytest.approx(60, rel=0.05)


def test_the_latter_half_of_the_time_counts() -> None:
    """Trials were small for the first minute, and are large in the second one."""
    pace, epochs = Pace(), 0
    for second in range(121):
        epochs += 10 if second <= 60 else second % 2
        pace.take(float(second), epochs=epochs, running=1)

    assert pace.epoch_seconds == pytest.approx(2, rel=0.1)


def test_time_without_a_running_trial_makes_no_epoch_longer() -> None:
    pace = Pace()
    for second in range(201):
        is_paused = 50 < second <= 150
        pace.take(float(second), epochs=min(second, 50) + max(0, second - 150), running=0 if is_paused else 1)

    assert pace.epoch_seconds == pytest.approx(1, rel=0.1)


def test_a_long_run_keeps_few_samples_and_the_same_pace() -> None:
    pace = Pace()
    for tick in range(20_000):
        pace.take(tick / 4, epochs=tick // 8, running=2)

    assert pace.epoch_seconds == pytest.approx(4, rel=0.05)
    assert len(pace._samples) <= 500
