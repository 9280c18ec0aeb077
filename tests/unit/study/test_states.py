"""The states of trials and studies, as the store and Optuna have them; and which values are better."""

from __future__ import annotations

import optuna
import pytest
from sqlalchemy import Double, column

from hpo.study.states import (
    OPTUNA_ENDED,
    AttemptEnd,
    Direction,
    OptunaState,
    Request,
    StudyState,
    TrialState,
)

VALUES = {Direction.MAXIMIZE: [0.9, 0.5, -1.0], Direction.MINIMIZE: [-1.0, 0.5, 0.9]}  # the best first


def test_optunas_states_are_spelled_as_optuna_does() -> None:
    assert {state.value for state in OptunaState} == {state.name for state in optuna.trial.TrialState}
    for state in OptunaState:
        assert state.is_ended is optuna.trial.TrialState[state].is_finished()
        assert state.is_ended is (state in OPTUNA_ENDED)


@pytest.mark.parametrize(
    ("optuna_state", "is_trained", "request_", "state"),
    [
        ("WAITING", False, None, TrialState.WAITING),
        ("RUNNING", True, None, TrialState.RUNNING),
        ("RUNNING", True, Request.AWAIT_PROMOTION, TrialState.RUNNING),  # it was promoted, and trains again
        ("RUNNING", True, Request.PAUSE, TrialState.RUNNING),  # until its epoch ends
        ("RUNNING", False, Request.AWAIT_PROMOTION, TrialState.PAUSED),
        ("RUNNING", False, "await promotion", TrialState.PAUSED),  # as the store has it
        ("RUNNING", False, None, TrialState.IDLE),
        ("RUNNING", False, Request.PAUSE, TrialState.IDLE),
        ("RUNNING", False, Request.STOP, TrialState.IDLE),
        ("COMPLETE", False, None, TrialState.COMPLETE),
        ("COMPLETE", False, Request.STOP, TrialState.COMPLETE),
        ("PRUNED", False, Request.AWAIT_PROMOTION, TrialState.PRUNED),
        ("FAIL", False, None, TrialState.FAILED),
        ("FAIL", True, None, TrialState.FAILED),  # its process has not been told yet
    ],
)
def test_people_see_a_trials_state_by_what_is_done_with_it(
    optuna_state: str, is_trained: bool, request_: str | None, state: TrialState
) -> None:
    assert TrialState.of(optuna_state, is_trained=is_trained, request=request_) is state


def test_every_state_of_optunas_has_one_for_people() -> None:
    of_optuna = {TrialState.of(state, is_trained=True, request=None) for state in OptunaState}

    assert of_optuna == set(TrialState) - {TrialState.PAUSED, TrialState.IDLE}


def test_a_state_that_optuna_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="'DONE' is not a valid OptunaState"):
        TrialState.of("DONE", is_trained=False, request=None)


def test_a_study_is_ending_when_no_trial_is_to_go_on() -> None:
    assert [state for state in StudyState if state.is_ending] == [StudyState.STOPPED, StudyState.KILLED]


@pytest.mark.parametrize("words", [StudyState, TrialState, OptunaState, Request, AttemptEnd, Direction])
def test_a_state_is_written_as_its_word(words: type[StudyState]) -> None:
    for word in words:
        assert f"{word}" == str(word) == word.value
        assert words(word.value) is word


# ---- directions


@pytest.mark.parametrize("direction", Direction)
def test_directions_are_translated_to_and_from_optunas_words(direction: Direction) -> None:
    theirs = optuna.study.StudyDirection[direction.optuna]

    assert Direction.of_optuna(theirs.name) is direction
    assert Direction.of_optuna(direction.optuna) is direction
    assert theirs is optuna.create_study(direction=direction.value).direction


@pytest.mark.parametrize("direction", Direction)
def test_better_is_said_the_same_way_everywhere(direction: Direction) -> None:
    best, middle, worst = VALUES[direction]

    assert direction.better(best, middle)
    assert not direction.better(worst, middle)
    assert not direction.better(middle, middle)
    assert [direction.reaches(value, middle) for value in (best, middle, worst)] == [True, True, False]
    assert [direction.gain(value, 0.5) for value in (best, middle, worst)] == sorted(
        (direction.gain(value, 0.5) for value in (best, middle, worst)), reverse=True
    )
    assert direction.gain(best, worst) == -direction.gain(worst, best) == pytest.approx(1.9)
    assert direction.gain(middle, middle) == 0
    assert sorted([worst, best, middle], key=direction.cost) == [best, middle, worst]


def test_the_best_comes_first_in_sql() -> None:
    value = column("value", Double)

    assert str(Direction.MAXIMIZE.order(value)) == "value DESC"
    assert str(Direction.MINIMIZE.order(value)) == "value ASC"
