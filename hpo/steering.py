"""What is wished of a running study or trial, written into the store, where every worker sees it within a second."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from hpo.errors import SpecError, StoreError, nearest
from hpo.hours import kept_hours
from hpo.leases import reap
from hpo.store import Store
from hpo.store.tables import hpo_studies, hpo_trials, trials
from hpo.tally import find, lock
from hpo.unheld import end_trial, end_unheld

STATES = {"pause": "paused", "resume": "running", "stop": "stopped", "kill": "killed"}
SAID = {
    "paused": "is held: what trains is saved after its epoch",
    "running": "goes on",
    "stopped": "ends after the current epochs",
    "killed": "ends now",
}
LIMITS = ("hours", "gpu_hours", "target", "patience")
ENDED = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
LARGEST_WHOLE = 2**31 - 1  # that a database keeps as an integer


def steer_study(store: Store, name: str, wish: str) -> str:
    """Pause, resume, stop or kill a study; a line that says what that means.

    Raises:
        StoreError: there is no such study, or another program made it.
    """
    study_id, _ = find(store, name)
    state = STATES[wish]
    reason = None if state == "running" else "by request"
    reap(store)  # perhaps no worker is left that would
    with store.write() as connection:
        _own(connection, study_id, name)
        with kept_hours(connection, study_id):
            connection.execute(
                update(hpo_studies).where(hpo_studies.c.study_id == study_id).values(state=state, state_reason=reason)
            )
            end_unheld(connection, study_id)
    return f"study {name} {SAID[state]}"


def steer_trial(store: Store, name: str, number: int, wish: str) -> str:
    """Pause, resume, stop or kill one trial; a line that says what that means.

    Raises:
        StoreError: there is no such trial, it has ended, or another program made it.
    """
    study_id, _ = find(store, name)
    state = STATES[wish]
    reap(store)
    with store.write() as connection:
        _own(connection, study_id, name)
        row = connection.execute(
            select(trials.c.trial_id, trials.c.state).where(trials.c.study_id == study_id, trials.c.number == number)
        ).first()
        if row is None:
            raise StoreError(f"study '{name}' has no trial {number}; 'hpo trials {name}' lists those it has")
        if row.state in ENDED:
            raise StoreError(f"trial {number} of study '{name}' has ended already ({ENDED[row.state]})")
        value = None if state == "running" else wish
        changed = connection.execute(update(hpo_trials).where(hpo_trials.c.trial_id == row.trial_id).values(wish=value))
        if changed.rowcount == 0:
            connection.execute(insert(hpo_trials).values(trial_id=row.trial_id, wish=value))
        if row.state == "WAITING" and state in ("stopped", "killed"):
            end_trial(connection, row.trial_id, "FAIL", cause=f"{state}: by request")
        end_unheld(connection, study_id, only=row.trial_id)
    return f"trial {number} of study {name} {SAID[state]}"


def set_limits(store: Store, name: str, changes: Sequence[str]) -> str:
    """Change what a study may spend, by `key=value`, or `key=+value` to add; a line that says what it is now.

    Raises:
        SpecError: a key or a value that cannot be; nothing is changed then.
        StoreError: there is no such study, or another program made it.
    """
    study_id, _ = find(store, name)
    reap(store)
    with store.write() as connection:
        row = _own(connection, study_id, name)
        limits: dict[str, Any] = json.loads(row.limits)
        values: dict[str, Any] = {"trials_target": row.trials_target, "priority": row.priority}
        for change in changes:
            key, equals, text = change.partition("=")
            if not equals:
                raise SpecError(f"'{change}' should be KEY=VALUE, such as trials=+50")
            if key == "trials":
                values["trials_target"] = int(_number(change, text, row.trials_target, whole=True))
            elif key == "priority":
                values["priority"] = _number(change, text, row.priority)
            elif key in LIMITS:
                limits[key] = None if text == "none" else _limit(change, key, text, limits.get(key))
            else:
                known = ["trials", *LIMITS, "priority"]
                listed = f"{nearest(key, known) or '.'} What can: {', '.join(known)}"
                raise SpecError(f"'{key}' cannot be set{listed}. Change the rest in the file, and submit it again")
        with kept_hours(connection, study_id):
            connection.execute(
                update(hpo_studies)
                .where(hpo_studies.c.study_id == study_id)
                .values(**values, limits=json.dumps(limits))
            )
            end_unheld(connection, study_id)  # with fewer trials, perhaps nobody is to go on with them
    told = {"trials": values["trials_target"], **limits, "priority": values["priority"]}
    return f"study {name}: " + ", ".join(f"{key} {value:g}" for key, value in told.items() if value is not None)


def _limit(change: str, key: str, text: str, before: float | None) -> float:
    if key == "target":  # any value of the objective
        return _number(change, text, before, lowest=-math.inf)
    return _number(change, text, before, whole=key == "patience")


def _number(change: str, text: str, before: float | None, *, whole: bool = False, lowest: float = 0.0) -> float:
    is_added = text.startswith("+")
    if is_added and before is None:
        raise SpecError(f"'{change}' adds to a limit that the study does not have: give the whole value")
    try:
        value = float(text)
    except ValueError:
        raise SpecError(f"'{change}': '{text}' is not a number") from None
    value += before if is_added and before is not None else 0.0
    if whole and not (math.isfinite(value) and 0 < value <= LARGEST_WHOLE and value == int(value)):
        raise SpecError(f"'{change}' should be a whole number from 1 to {LARGEST_WHOLE}")
    if not math.isfinite(value) or value <= lowest:
        raise SpecError(f"'{change}' should be a number" + (f" above {lowest:g}" if lowest == 0 else ""))
    return value


def _own(connection: Connection, study_id: int, name: str) -> Any:
    lock(connection, study_id)
    row = connection.execute(select(hpo_studies).where(hpo_studies.c.study_id == study_id)).first()
    if row is None:
        raise StoreError(f"study '{name}' was made by another program, which alone can steer it")
    return row
