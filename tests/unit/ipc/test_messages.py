"""What a worker takes from a trial process, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.ipc.incoming import InvalidMessageError, read_report
from hpo.ipc.messages import Epoch, Started, message_of

EPOCH = {"kind": "epoch", "trial": 3, "epoch": 1, "value": 0.5, "metrics": {"loss": 0.5, "steps": 3}, "seconds": 1.5}
STARTED = {
    "kind": "started",
    "model": {},
    "data": {},
    "parameters": 9,
    "from_epoch": 1,
    "executor": "lean",
    "curve": [EPOCH],
}


@pytest.mark.parametrize(
    "message",
    [
        EPOCH,
        EPOCH | {"value": None},
        STARTED,
        STARTED | {"curve": [], "warnings": ["more"]},
        {"kind": "training"},
        {"kind": "alive"},
        {"kind": "warning", "text": "look"},
        {"kind": "failed", "cause": "error: ValueError", "error": "..."},
        {"kind": "done", "seconds": 1.0, "takes_another": False},
    ],
)
def test_what_a_trial_tells_is_taken(message: dict[str, Any]) -> None:
    report = read_report(message)

    assert report.kind == message["kind"]
    assert read_report(message_of(report)) == report


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({}, "a message of no known kind: {}"),
        ({"kind": "epock"}, "a message of no known kind: {'kind': 'epock'}"),
        ({"kind": ["epoch"]}, "a message of no known kind: {'kind': ['epoch']}"),
        ({"kind": "warning"}, "a message 'warning' without 'text': {'kind': 'warning'}"),
        ({"kind": "failed", "cause": 3, "error": ""}, "a message 'failed' whose 'cause' cannot be 3"),
        (EPOCH | {"epoch": "1"}, "a message 'epoch' whose 'epoch' cannot be '1'"),
        (EPOCH | {"epoch": 2**31}, "a message 'epoch' whose 'epoch' cannot be 2147483648"),
        (EPOCH | {"epoch": True}, "a message 'epoch' whose 'epoch' cannot be True"),
        (EPOCH | {"value": float("nan")}, "a message 'epoch' whose 'value' cannot be nan"),
        (EPOCH | {"value": 10**400}, "a message 'epoch' whose 'value' cannot be 1000"),
        (EPOCH | {"metrics": {"loss": float("inf")}}, "a message 'epoch' whose 'metrics' cannot be {'loss': inf}"),
        (EPOCH | {"metrics": [1]}, "a message 'epoch' whose 'metrics' cannot be [1]"),
        (EPOCH | {"seconds": "long"}, "a message 'epoch' whose 'seconds' cannot be 'long'"),
        (STARTED | {"curve": [{"epoch": 1}]}, "a message 'started' whose 'curve' cannot be [{'epoch': 1}]"),
        (STARTED | {"parameters": -1}, "a message 'started' whose 'parameters' cannot be -1"),
        (STARTED | {"model": "Net"}, "a message 'started' whose 'model' cannot be 'Net'"),
    ],
)
def test_what_cannot_be_is_said_in_words(message: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidMessageError) as raised:
        read_report(message)

    assert str(raised.value).startswith(told)
    assert len(str(raised.value)) < 300


def test_the_epochs_of_a_checkpoint_become_records() -> None:
    report = read_report(STARTED)

    assert isinstance(report, Started)
    assert report.curve == [Epoch(1, 0.5, {"loss": 0.5, "steps": 3.0}, 1.5)]
