"""The decision about a trial after an epoch: a table of cases."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from hpo.search.rungs import Verdict
from hpo.study.spec import EarlyStopping
from hpo.study.states import AttemptEnd, Direction, Request
from hpo.worker.decision import Action, Decision, Requested, decide
from hpo.worker.trial_report import ANSWERS

PAUSE = Requested(Request.PAUSE, AttemptEnd.PAUSED, "paused: by request")
PREEMPT = Requested(Request.PAUSE, AttemptEnd.PREEMPTED, "preempted: handed back by its worker")
STOP = Requested(Request.STOP, AttemptEnd.DONE, "stopped: by request")
PATIENCE = EarlyStopping(patience=2, min_delta=0.05)

BEST, WORSE = {"curve": [0.5, 0.6], "value": 0.7}, {"curve": [0.5, 0.6], "value": 0.55}
FLAT = {"curve": [0.5, 0.6, 0.62], "value": 0.64}  # two epochs without 0.05 more, and each the best so far
NONE = {"curve": [0.5, 0.6], "value": None}
RISING = {"curve": [0.5, 0.6, 0.7], "value": 0.8}

KEEP_BEST = Decision(Action.SAVE, is_best=True)
GO_ON = Decision(Action.CONTINUE)
KEPT = Decision(Action.STOP, AttemptEnd.DIVERGED, "diverged")
DIVERGED = Decision(Action.DROP, AttemptEnd.DIVERGED, "diverged")
ALL_EPOCHS = Decision(Action.STOP)
TARGET = Decision(Action.STOP, reason="the target 0.6 is reached", is_best=True)
PLATEAU = Decision(Action.STOP, reason="no improvement for 2 epochs")
HOPELESS = Decision(Action.PRUNE)
STOPPED = Decision(Action.PRUNE, reason="stopped: by request")
AT_RUNG = Decision(Action.PAUSE, AttemptEnd.AT_RUNG, "paused at a rung")
PAUSED = Decision(Action.PAUSE, AttemptEnd.PAUSED, "paused: by request")
PREEMPTED = Decision(Action.PAUSE, AttemptEnd.PREEMPTED, "preempted: handed back by its worker")

# What is given at epoch 3 of 9, if no other is named, where larger values are better; and what is decided.
CASES: dict[str, tuple[dict[str, Any], Decision]] = {
    # each action for its one reason
    "the first epoch is the best so far": ({"curve": [], "value": 0.1, "epoch": 1}, KEEP_BEST),
    "the best so far is kept": (BEST, KEEP_BEST),
    "a worse epoch is not": (WORSE, GO_ON),
    "an equal epoch is not": ({"curve": [0.5, 0.6], "value": 0.6}, GO_ON),
    "better than the last and not than the best": ({"curve": [0.6, 0.5], "value": 0.55}, GO_ON),
    "no finite number after finite ones": (NONE, KEPT),
    "no finite number, and the study fails such trials": (NONE | {"keeps_diverged": False}, DIVERGED),
    "no finite number in the first epoch": ({"curve": [], "value": None}, DIVERGED),
    "all epochs are trained, the last is the best": (BEST | {"epoch": 9}, Decision(Action.STOP, is_best=True)),
    "all epochs are trained, the last is not the best": (WORSE | {"epoch": 9}, ALL_EPOCHS),
    "more epochs than there are": (WORSE | {"epoch": 10}, ALL_EPOCHS),
    "the only epoch": ({"curve": [], "value": 0.1, "epoch": 1, "epochs": 1}, Decision(Action.STOP, is_best=True)),
    "the target is passed": (BEST | {"target": 0.6}, TARGET),
    "the target is met exactly": ({"curve": [0.5], "value": 0.6, "target": 0.6}, TARGET),
    "the target is missed": (BEST | {"target": 0.71}, KEEP_BEST),
    "the target was reached by an epoch before": (WORSE | {"target": 0.6}, GO_ON),
    "a plateau": ({"curve": [0.6, 0.5], "value": 0.5, "early_stopping": PATIENCE}, PLATEAU),
    "a plateau whose last epoch is the best": (
        FLAT | {"early_stopping": PATIENCE},
        Decision(Action.STOP, reason="no improvement for 2 epochs", is_best=True),
    ),
    "too short for a plateau": ({"curve": [0.6], "value": 0.5, "early_stopping": PATIENCE}, GO_ON),
    "the last epoch ends the plateau": ({"curve": [0.5, 0.5], "value": 0.6, "early_stopping": PATIENCE}, KEEP_BEST),
    "small steps add up to an improvement": (
        {"curve": [0.5, 0.53], "value": 0.56, "early_stopping": PATIENCE},
        KEEP_BEST,
    ),
    "the pruner prunes": (WORSE | {"verdict": Verdict.PRUNE}, HOPELESS),
    "the pruner prunes though it is the best so far": (
        BEST | {"verdict": Verdict.PRUNE},
        replace(HOPELESS, is_best=True),
    ),
    "a rung pauses": (WORSE | {"verdict": Verdict.PAUSE}, AT_RUNG),
    "a rung pauses after the best epoch": (
        BEST | {"verdict": Verdict.PAUSE},
        Decision(Action.PAUSE, AttemptEnd.AT_RUNG, "paused at a rung", is_best=True),
    ),
    "a person pauses": (WORSE | {"requested": PAUSE}, PAUSED),
    "a person pauses after the best epoch": (
        BEST | {"requested": PAUSE},
        Decision(Action.PAUSE, AttemptEnd.PAUSED, "paused: by request", is_best=True),
    ),
    "a worker hands back": (WORSE | {"requested": PREEMPT}, PREEMPTED),
    "a person stops": (WORSE | {"requested": STOP}, STOPPED),
    "a person stops after the best epoch": (BEST | {"requested": STOP}, replace(STOPPED, is_best=True)),
    # the objective was not logged in this epoch
    "nothing is judged": (NONE | {"is_judged": False}, GO_ON),
    "nothing is judged before the first value": ({"curve": [], "value": None, "is_judged": False}, GO_ON),
    "nothing is judged at the last epoch": (NONE | {"is_judged": False, "epoch": 9}, ALL_EPOCHS),
    "nothing is judged, and a person pauses": (NONE | {"is_judged": False, "requested": PAUSE}, PAUSED),
    "nothing is judged, and a person stops": (NONE | {"is_judged": False, "requested": STOP}, STOPPED),
    "nothing is judged, whatever the study's limits": (
        NONE | {"is_judged": False, "target": 0.1, "early_stopping": PATIENCE},
        GO_ON,
    ),
    # granted epochs: its rung lets it go on, and nothing else does
    "granted, whatever the rung says": (WORSE | {"verdict": Verdict.PAUSE, "granted": 4}, GO_ON),
    "granted to this epoch": (WORSE | {"verdict": Verdict.PAUSE, "granted": 3}, GO_ON),
    "granted until the epoch before": (WORSE | {"verdict": Verdict.PAUSE, "granted": 2}, AT_RUNG),
    "granted, whatever the pruner says": (BEST | {"verdict": Verdict.PRUNE, "granted": 4}, KEEP_BEST),
    "granted, and diverged": (NONE | {"granted": 4}, KEPT),
    "granted, and a person pauses": (WORSE | {"granted": 4, "requested": PAUSE}, PAUSED),
    "granted, and a person stops": (WORSE | {"verdict": Verdict.PAUSE, "granted": 4, "requested": STOP}, STOPPED),
    "granted, and a plateau": ({"curve": [0.6, 0.5], "value": 0.5, "granted": 9, "early_stopping": PATIENCE}, PLATEAU),
}


@pytest.mark.parametrize(("given", "decision"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("direction", Direction)
def test_a_decision_follows_from_what_is_given(given: dict[str, Any], decision: Decision, direction: Direction) -> None:
    assert decided(given, direction) == in_direction(decision, given, direction)


# What may be given at once, the first that is given decides. After a curve that makes all of it true.
PRECEDENCE: list[tuple[dict[str, Any], Decision]] = [
    ({"value": None}, KEPT),
    ({"epoch": 9}, ALL_EPOCHS),
    ({"target": 0.4}, Decision(Action.STOP, reason="the target 0.4 is reached")),
    ({"early_stopping": PATIENCE}, PLATEAU),
    ({"verdict": Verdict.PRUNE}, HOPELESS),
    ({"requested": STOP}, STOPPED),
    ({"verdict": Verdict.PAUSE}, AT_RUNG),
    ({"requested": PAUSE}, PAUSED),
]


@pytest.mark.parametrize("direction", Direction)
def test_of_all_that_is_given_at_once_the_first_in_order_decides(direction: Direction) -> None:
    for count in range(1, len(PRECEDENCE) + 1):
        for chosen in itertools.combinations(PRECEDENCE, count):
            together = {"curve": [0.6, 0.5], "value": 0.5}
            for given, _ in reversed(chosen):  # a pruner has one verdict, and one thing is requested: the first
                together |= given

            assert decided(together, direction) == in_direction(chosen[0][1], together, direction), together


@pytest.mark.parametrize(
    ("decision", "ends"),
    [(KEEP_BEST, False), (GO_ON, False), (AT_RUNG, True), (HOPELESS, True), (ALL_EPOCHS, True), (DIVERGED, True)],
)
def test_an_attempt_ends_by_every_decision_but_to_train_on(decision: Decision, ends: bool) -> None:
    assert decision.ends_attempt is ends
    assert ANSWERS[decision.action].stop is ends


def test_a_trial_is_told_what_each_decision_asks_of_its_checkpoints() -> None:
    assert set(ANSWERS) == set(Action)
    assert [action for action, answer in ANSWERS.items() if answer.save] == [Action.SAVE]
    assert [action for action, answer in ANSWERS.items() if answer.checkpoint] == [Action.PAUSE]
    assert [action for action, answer in ANSWERS.items() if answer.drop] == [Action.PRUNE, Action.DROP]


def decided(given: dict[str, Any], direction: Direction) -> Decision:
    """What is decided of a trial of nine epochs after its third; where less is better, of its mirror image."""
    arguments = {"epoch": 3, "epochs": 9} | given
    if direction is Direction.MINIMIZE:
        arguments["curve"] = [-value for value in arguments["curve"]]
        for name in ("value", "target"):
            if arguments.get(name) is not None:
                arguments[name] = -arguments[name]
    return decide(arguments.pop("curve"), arguments.pop("value"), direction=direction, **arguments)


def in_direction(decision: Decision, given: dict[str, Any], direction: Direction) -> Decision:
    """The decision, with the target in its reason as it was given."""
    if direction is Direction.MAXIMIZE or decision.reason is None or "target" not in given:
        return decision
    return replace(decision, reason=decision.reason.replace(f"target {given['target']}", f"target {-given['target']}"))
