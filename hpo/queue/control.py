"""Requests of people: pause, resume, stop or kill a study or a trial, set limits; workers poll them from the store."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from hpo.errors import NotFoundError, SpecError, StoreError, nearest
from hpo.queue.after_change import apply_limits
from hpo.queue.front import objectives_of
from hpo.queue.idle import KILLED, STOPPED, end_idle_trials, end_trial
from hpo.queue.leases import expire_leases
from hpo.queue.progress import BY_REQUEST, find_study, lock_named_study
from hpo.queue.wall_clock import wall_clock_kept
from hpo.store import Store
from hpo.store.tables import hpo_studies, hpo_trials, trials
from hpo.study.limits import UNLIMITED
from hpo.study.states import OPTUNA_ENDED, OptunaState, Request, StudyState, TrialState

STUDY_OUTCOMES = {
    StudyState.PAUSED: "is paused: running trials are saved after their epoch",
    StudyState.RUNNING: "is resumed",
    StudyState.STOPPED: "ends after the current epochs",
    StudyState.KILLED: "ends now",
}
TRIAL_OUTCOMES = {
    Request.PAUSE: "is paused: it is saved after its epoch",
    None: "is resumed",
    Request.STOP: "ends after its epoch",
    Request.KILL: "ends now",
}
LIMITS = ("hours", "gpu_hours", "target", "patience")
LARGEST_INTEGER = 2**31 - 1  # of an INTEGER column


def request_study(store: Store, name: str, state: StudyState) -> str:
    """Pause, resume, stop or kill a study; returns a line with the outcome.

    Raises:
        StoreError: there is no such study, or another program made it.
    """
    study_id, _ = find_study(store, name)
    reason = None if state == StudyState.RUNNING else BY_REQUEST
    expire_leases(store)  # there may be no worker left to do it
    with store.write() as connection:
        lock_own_study(connection, study_id, name)
        with wall_clock_kept(connection, study_id):
            connection.execute(
                update(hpo_studies).where(hpo_studies.c.study_id == study_id).values(state=state, state_reason=reason)
            )
            end_idle_trials(connection, study_id)
    return f"study {name} {STUDY_OUTCOMES[state]}"


def request_trial(store: Store, name: str, number: int, request: Request | None) -> str:
    """Pause, stop, kill or resume (None) one trial; returns a line with the outcome.

    Raises:
        StoreError: there is no such trial, it has ended, or another program made it.
    """
    study_id, _ = find_study(store, name)
    expire_leases(store)
    with store.write() as connection:
        lock_own_study(connection, study_id, name)
        row = connection.execute(
            select(trials.c.trial_id, trials.c.state).where(trials.c.study_id == study_id, trials.c.number == number)
        ).first()
        if row is None:
            raise NotFoundError(f"study '{name}' has no trial {number}; 'hpo trials {name}' lists those it has")
        if row.state in OPTUNA_ENDED:
            ended = TrialState.of(row.state, is_trained=False, request=None)
            raise StoreError(f"trial {number} of study '{name}' has ended already ({ended})")
        mine = hpo_trials.c.trial_id == row.trial_id
        changed = connection.execute(update(hpo_trials).where(mine).values(request=request))
        if changed.rowcount == 0:
            connection.execute(insert(hpo_trials).values(trial_id=row.trial_id, request=request))
        if row.state == OptunaState.WAITING and request in (Request.STOP, Request.KILL):
            cause = STOPPED if request == Request.STOP else KILLED
            end_trial(connection, row.trial_id, OptunaState.FAIL, cause=f"{cause}: {BY_REQUEST}")
        end_idle_trials(connection, study_id, only=row.trial_id)
    return f"trial {number} of study {name} {TRIAL_OUTCOMES[request]}"


def set_limits(
    store: Store, name: str, changes: Sequence[str], *, also: Callable[[Connection, str], None] | None = None
) -> str:
    """Change a study's limits by `key=value`, or `key=+value` to add; returns a line with the new limits, and
    what they mean for the trials that have begun.

    Args:
        also: is done in the same transaction, with that line.

    Raises:
        SpecError: an unknown key, or an invalid value; nothing is changed then.
        StoreError: there is no such study, or another program made it.
    """
    study_id, _ = find_study(store, name)
    expire_leases(store)
    with store.write() as connection:
        row = lock_own_study(connection, study_id, name)
        limits: dict[str, Any] = json.loads(row.limits)
        values: dict[str, Any] = {"trials_target": row.trials_target, "priority": row.priority}
        for change in changes:
            key, equals, text = change.partition("=")
            if not equals:
                raise SpecError(f"'{change}' should be KEY=VALUE, such as trials=+50")
            if key == "trials" and row.plan is not None:
                raise SpecError(
                    f"study '{name}' trains the best trials of a search again, as many as 'hpo finalize --seeds' says"
                )
            if key == "trials" and text == "none":
                values["trials_target"] = UNLIMITED
            elif key == "trials":
                values["trials_target"] = int(
                    _number(change, text, None if row.trials_target == UNLIMITED else row.trials_target, whole=True)
                )
            elif key == "priority":
                values["priority"] = _number(change, text, row.priority)
            elif key in LIMITS:
                if key == "target" and text != "none":
                    _check_target(connection, study_id, name)
                limits[key] = None if text == "none" else _limit(change, key, text, limits.get(key))
            else:
                known = ["trials", *LIMITS, "priority"]
                listed = f"{nearest(key, known) or '.'} These can: {', '.join(known)}"
                raise SpecError(f"'{key}' cannot be set{listed}. Change the rest in the file, and submit it again")
        with wall_clock_kept(connection, study_id) as hours:
            connection.execute(
                update(hpo_studies)
                .where(hpo_studies.c.study_id == study_id)
                .values(**values, limits=json.dumps(limits))
            )
            consequence = apply_limits(connection, study_id, name, hours=hours)
        target = values["trials_target"]
        shown = {**limits, "priority": values["priority"]}
        found = [f"{key} {value:g}" for key, value in shown.items() if value is not None]
        trials_now = "trials none" if target == UNLIMITED else f"trials {target}"
        said = f"study {name}: {', '.join([trials_now, *found])}{consequence}"
        if also is not None:
            also(connection, said)
    return said


def _check_target(connection: Connection, study_id: int, name: str) -> None:
    """
    Raises:
        SpecError: the target would be a hypervolume, and there is nothing that it is measured from.
    """
    objectives = objectives_of(connection, study_id)
    if objectives.are_several and objectives.reference is None:
        raise SpecError(
            f"study '{name}' has {len(objectives.directions)} objectives, so that its target is a hypervolume, and its "
            "study file has no reference for one: add budget: {target: {hypervolume: ..., reference: ...}} to it, and "
            "submit it again"
        )


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
    if whole and not (math.isfinite(value) and 0 < value <= LARGEST_INTEGER and value == int(value)):
        raise SpecError(f"'{change}' should be a whole number from 1 to {LARGEST_INTEGER}")
    if not math.isfinite(value) or value <= lowest:
        raise SpecError(f"'{change}' should be a number" + (f" above {lowest:g}" if lowest == 0 else ""))
    return value


def lock_own_study(connection: Connection, study_id: int, name: str) -> Any:
    """Lock a study until the transaction ends; its row of ours.

    Raises:
        StoreError: the study is gone by now, or another program made it.
    """
    lock_named_study(connection, study_id, name)
    row = connection.execute(select(hpo_studies).where(hpo_studies.c.study_id == study_id)).first()
    if row is None:
        raise StoreError(f"study '{name}' was created by another program: only that program can control it")
    return row
