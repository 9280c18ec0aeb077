"""A trial whose attempt the disk has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.queue.claim import Claim
from hpo.study.devices import Slot
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.running_trial import RunningTrial

FULL = "No space left on device: /art/own.txt"


@pytest.fixture
def trial(tmp_path: Path) -> RunningTrial:
    claim = Claim(study_id=1, trial_id=1, number=0, study="study", attempt_id=1, attempt=1, params={})
    slot = Slot(0, (), 1, 1)
    return RunningTrial(claim, slot, epochs=3, config={"epochs": 3}, directory=tmp_path, claimed_at=0.0, epoch=1)


def test_it_is_handed_back_with_the_reason(trial: RunningTrial) -> None:
    trial.fail_to_write(FULL)

    assert trial.handed_back == AttemptEnd.PAUSED
    assert (trial.cause, trial.error) == (f"files could not be written: {FULL}", None)
    assert trial.is_to_be_killed


def test_the_exits_that_follow_are_no_crash(trial: RunningTrial) -> None:
    trial.fail_to_write(FULL)
    trial.fail(AttemptEnd.CRASH, "killed: SIGKILL", "exited without reporting", is_silent=True)

    assert trial.handed_back == AttemptEnd.PAUSED
    assert trial.end == AttemptEnd.DONE


def test_another_ranks_lost_connection_is_not_the_reason(trial: RunningTrial) -> None:
    trial.fail(AttemptEnd.ERROR, "error: RuntimeError", "Connection closed by peer")
    trial.fail_to_write(FULL)

    assert (trial.handed_back, trial.state) == (AttemptEnd.PAUSED, OptunaState.COMPLETE)
    assert trial.error is None


def test_a_trial_that_has_trained_all_of_its_epochs_is_complete(trial: RunningTrial) -> None:
    trial.epoch = 3
    trial.fail_to_write(FULL)
    trial.fail(AttemptEnd.CRASH, "killed: SIGKILL", "exited without reporting", is_silent=True)

    assert (trial.handed_back, trial.state, trial.end) == (None, OptunaState.COMPLETE, AttemptEnd.DONE)
    assert trial.unwritten == FULL


def test_a_trial_that_was_pruned_stays_pruned(trial: RunningTrial) -> None:
    trial.state, trial.is_decided = OptunaState.PRUNED, True
    trial.fail_to_write(FULL)

    assert (trial.handed_back, trial.state) == (None, OptunaState.PRUNED)


def test_a_trial_that_a_person_has_killed_stays_killed(trial: RunningTrial) -> None:
    trial.fail(AttemptEnd.KILLED, "killed: by request", "killed by request")
    trial.fail_to_write(FULL)

    assert (trial.handed_back, trial.state, trial.end) == (None, OptunaState.FAIL, AttemptEnd.KILLED)
