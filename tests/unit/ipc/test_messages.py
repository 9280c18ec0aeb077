"""The messages that a worker accepts from a trial process, and those that it refuses."""

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
def test_reports_of_a_trial_are_accepted(message: dict[str, Any]) -> None:
    report = read_report(message)

    assert report.kind == message["kind"]
    assert read_report(message_of(report)) == report


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, "a message of unknown kind: {}"),
        ({"kind": "epock"}, "a message of unknown kind: {'kind': 'epock'}"),
        ({"kind": ["epoch"]}, "a message of unknown kind: {'kind': ['epoch']}"),
        ({"kind": "warning"}, "a message 'warning' without 'text': {'kind': 'warning'}"),
        ({"kind": "failed", "cause": 3, "error": ""}, "a message 'failed' with an invalid 'cause': 3"),
        (EPOCH | {"epoch": "1"}, "a message 'epoch' with an invalid 'epoch': '1'"),
        (EPOCH | {"epoch": 2**31}, "a message 'epoch' with an invalid 'epoch': 2147483648"),
        (EPOCH | {"epoch": True}, "a message 'epoch' with an invalid 'epoch': True"),
        (EPOCH | {"value": float("nan")}, "a message 'epoch' with an invalid 'value': nan"),
        (EPOCH | {"value": 10**400}, "a message 'epoch' with an invalid 'value': 1000"),
        (EPOCH | {"metrics": {"loss": float("inf")}}, "a message 'epoch' with an invalid 'metrics': {'loss': inf}"),
        (EPOCH | {"metrics": [1]}, "a message 'epoch' with an invalid 'metrics': [1]"),
        (EPOCH | {"seconds": "long"}, "a message 'epoch' with an invalid 'seconds': 'long'"),
        (STARTED | {"curve": [{"epoch": 1}]}, "a message 'started' with an invalid 'curve': [{'epoch': 1}]"),
        (STARTED | {"parameters": -1}, "a message 'started' with an invalid 'parameters': -1"),
        (STARTED | {"model": "Net"}, "a message 'started' with an invalid 'model': 'Net'"),
    ],
)
def test_invalid_messages_are_refused_with_a_reason(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidMessageError) as raised:
        read_report(message)

    assert str(raised.value).startswith(problem)
    assert len(str(raised.value)) < 300


def test_the_epochs_of_a_checkpoint_become_records() -> None:
    report = read_report(STARTED)

    assert isinstance(report, Started)
    assert report.curve == [Epoch(1, 0.5, {"loss": 0.5, "steps": 3.0}, 1.5)]
