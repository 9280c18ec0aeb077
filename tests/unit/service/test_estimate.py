"""The time and the disk space of a study, from a few batches that were timed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hpo.cli.estimate import disk_in_words, time_in_words
from hpo.ipc.messages import Measured
from hpo.service.estimate import estimate, trial_seconds
from hpo.service.preflight import Probe
from hpo.study.spec import StudySpec
from hpo.study.study_file import Source

# 10 batches of 0.1 s and 2 validation batches of 0.5 s were timed; 0.2 s of an epoch are neither. The first one took
# 0.7 s longer. An epoch has 50 batches, a validation 4.
LATER = Measured(
    epoch_seconds=2.2,
    batches=10,
    batch_seconds=0.1,
    validation_batches=2,
    validation_batch_seconds=0.5,
    all_batches=50,
    all_validation_batches=4,
    validation_samples=64,
    weights_bytes=10_000_000,
    state_bytes=30_000_000,
)
FIRST = replace(LATER, epoch_seconds=2.9)
EPOCH = 50 * 0.1 + 4 * 0.5 + 0.2
START = 3.0 + 0.7


def probe(*measured: Measured, **params: Any) -> Probe:
    found = measured or (FIRST, LATER)
    return Probe(metrics=("loss",), parameters=9, params=params, seconds_to_training=3.0, measured=found)


def study(**keys: Any) -> StudySpec:
    plain = {"study": "s", "model": "m:M", "data": "m:D", "objective": {"metric": "loss", "direction": "minimize"}}
    return Source.of_mapping({**plain, "pruner": "none", **keys}, call="hpo.check").study()


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [
        ({"epochs": 1}, START + EPOCH),
        ({"epochs": 20}, START + 20 * EPOCH),
        ({"epochs": 20, "trainer": {"check_val_every_n_epoch": 4}}, START + 20 * (EPOCH - 2.0) + 5 * 2.0),
        ({"epochs": 20, "trainer": {"val_check_interval": 0.5}}, START + 20 * (EPOCH + 2.0) + 20 * 0.2),
        ({"epochs": 20, "trainer": {"val_check_interval": 20}}, START + 20 * (EPOCH + 2.0) + 20 * 0.2),
        ({"steps": 1000, "trainer": {"val_check_interval": 100}}, START + 1000 * 0.1 + 10 * 2.0 + 20 * 0.2),
    ],
)
def test_a_trial_takes_its_batches_its_validations_and_its_start(keys: dict[str, Any], seconds: float) -> None:
    spec = study(**keys)

    assert trial_seconds(probe(), spec, length=spec.max_epochs) == pytest.approx(seconds)


def test_each_fold_of_a_trial_is_trained() -> None:
    once, folds = (trial_seconds(probe(), study(epochs=10, **keys), length=10) for keys in ({}, {"folds": 5}))

    assert once == pytest.approx(START + 10 * EPOCH)
    assert folds == pytest.approx(START + 5 * 10 * EPOCH)


def test_trials_share_the_slots() -> None:
    found = estimate(study(epochs=20, budget={"trials": 7}), [probe()], slots=2, varied=[])

    assert found.seconds is not None
    assert found.seconds.usual == pytest.approx(4 * (START + 20 * EPOCH))
    assert found.seconds.least == found.seconds.most == found.seconds.usual
    assert time_in_words(found, hours=None) == "about 9.8 minutes on 2 slots without pruning"


def test_the_smallest_and_the_largest_configurations_give_a_range() -> None:
    slow = replace(LATER, batch_seconds=0.3, epoch_seconds=4.2, all_batches=100, weights_bytes=40_000_000)
    probes = [probe(width=8), probe(slow, width=64)]

    found = estimate(study(epochs=20, budget={"trials": 1}), probes, slots=1, varied=["width"])

    assert found.seconds is not None
    expected = (START + 20 * EPOCH, START + 20 * EPOCH, 3.0 + 20 * 32.2)
    assert (found.seconds.least, found.seconds.usual, found.seconds.most) == pytest.approx(expected)
    assert time_in_words(found, hours=None) == (
        "about 2.5 minutes (2.5 minutes to 11 minutes) on 1 slot without pruning, by width"
    )


def test_a_searched_number_of_epochs_gives_a_range() -> None:
    found = estimate(study(epochs={"low": 1, "high": 100, "log": True}), [probe()], slots=1, varied=[])

    assert found.trial_seconds is not None
    seconds = (found.trial_seconds.least, found.trial_seconds.usual, found.trial_seconds.most)
    assert seconds == pytest.approx(tuple(START + epochs * EPOCH for epochs in (1, 10, 100)))


def test_rungs_shorten_a_study() -> None:
    spec = study(epochs=9, pruner={"name": "asha", "eta": 3, "min_epochs": 1}, budget={"trials": 9})

    found = estimate(spec, [probe()], slots=1, varied=[])

    assert found.seconds is not None
    assert found.seconds_with_rungs is not None
    expected = found.seconds.usual * (9 * 1 + 3 * 2 + 1 * 6) / 81
    assert found.seconds_with_rungs == pytest.approx(expected, rel=0.1)


def test_what_cannot_be_known_is_said() -> None:
    endless = replace(LATER, all_batches=None)

    found = estimate(study(epochs=3), [probe(endless)], slots=1, varied=[])

    assert (found.trial_seconds, found.seconds) == (None, None)
    assert time_in_words(found, hours=None) == (
        "not known, because the loader of the training data has no length; about 1.7 minutes for 1,000 batches"
    )
    # Steps are batches, whatever the length of the data.
    assert trial_seconds(probe(endless), study(steps=100), length=100) is not None


def test_without_a_number_of_trials_the_time_is_that_of_a_trial_and_hours_end_the_study() -> None:
    found = estimate(study(epochs=20, budget={"hours": 8}), [probe()], slots=2, varied=[])

    assert found.seconds is None
    assert time_in_words(found, hours=8) == "about 2.5 minutes a trial; it ends after 8 hours at the latest"


def test_the_disk_holds_the_weights_that_are_kept_and_the_states_of_what_runs() -> None:
    found = estimate(study(keep={"checkpoints": 6}), [probe()], slots=2, varied=[])

    assert found.kept_bytes.usual == 60_000_000
    assert found.running_bytes.usual == 10_000_000 + 2 * 30_000_000
    assert disk_in_words(found) == (
        "about 30 MB a checkpoint (10 MB its weights), 60 MB kept (6 trials); "
        "up to 70 MB for each that runs or is paused"
    )


def test_a_study_that_keeps_nothing_says_so() -> None:
    assert "its weights), none kept; up to 70 MB" in disk_in_words(
        estimate(study(keep={"checkpoints": 0}), [probe()], slots=2, varied=[])
    )
