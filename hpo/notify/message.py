"""What a notification says, as text; a program gets the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from hpo.printable import counted
from hpo.study.notify import NotifyEvent
from hpo.study.states import StudyState, TrialState

TEST = "test"  # the event of a message by which somebody tries a target

_TITLES = {
    NotifyEvent.NEW_BEST: "has a new best trial",
    NotifyEvent.WORKER_LOST: "has lost a worker",
    NotifyEvent.BUDGET_NEARLY_SPENT: "has nearly spent its budget",
}


def title_of(content: Mapping[str, Any]) -> str:
    """One line: `digits-dnn has finished`."""
    study, event = content["study"], content["event"]
    if event == TEST:
        return f"a test from {content['host']}: notifications {f'of {study} ' if study else ''}arrive"
    if event == NotifyEvent.FINISHED:
        is_done = content["state"] == StudyState.DONE
        return f"{study} has finished" if is_done else f"{study} was {content['state']}"
    if event == NotifyEvent.FAILURES_IN_A_ROW:
        return f"{study}: {counted(content['failures_in_a_row'], 'trial')} in a row failed"
    return f"{study} {_TITLES.get(event, event)}"


def text_of(content: Mapping[str, Any]) -> str:
    """The whole message, a fact a line."""
    return "\n".join([title_of(content), *_facts(content)])


def _facts(content: Mapping[str, Any]) -> Iterator[str]:
    if content.get("reason"):
        yield content["reason"]
    if "last_failure" in content:
        numbers = ", ".join(map(str, content["trials_failed"]))
        yield f"failed: {numbers}; the last one: {content['last_failure']}"
    if "worker" in content:
        numbers = ", ".join(map(str, content["trials_handed_back"]))
        yield f"worker: {content['worker']}; other workers go on with: {numbers}"
    if "budget" in content:
        yield f"spent: {content['spent']:.4g} of {content['limit']:g} {content['budget'].replace('gpu_', 'device-')}"
    if (best := content.get("best")) is not None:
        values = ", ".join(f"{name} {_number(value)}" for name, value in best["values"].items())
        params = " ".join(f"{name}={_number(value)}" for name, value in best["params"].items())
        yield f"best: {values} by trial {best['trial']}" + (f" ({params})" if params else "")
    if (trials := content.get("trials")) is not None:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING)
        ended = sum(trials[state] for state in states[:3])
        of = "" if not trials["target"] else f" of {trials['target']}"
        words = ", ".join(f"{trials[state]} {state}" for state in states if trials[state])
        yield f"trials: {ended}{of}" + (f" ({words})" if words else "")
    yield f"time: {datetime.fromisoformat(content['time']):%Y-%m-%d %H:%M:%S} UTC"
    if content.get("look"):
        yield f"look: {content['look']}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
