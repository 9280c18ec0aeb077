"""Studies in the store: creating, continuing and finding them, and setting their state."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from hpo.errors import StoreError
from hpo.printable import counted
from hpo.queue.accept import accept_changes
from hpo.queue.after_change import apply_limits
from hpo.queue.enqueue import insert_points
from hpo.queue.findings import EARLIER, add_finding
from hpo.queue.front import METRIC_NAMES
from hpo.queue.plans import enter_plan
from hpo.queue.progress import counts_of, lock_study, no_such_study
from hpo.queue.wall_clock import wall_clock_kept
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_studies, studies, study_directions, study_system_attributes
from hpo.study.earlier import Earlier
from hpo.study.fingerprints import changed_inputs, inputs_to_continue
from hpo.study.limits import UNLIMITED, trials_in_words
from hpo.study.plan import Plan
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import StudyState

log = logging.getLogger(__name__)


_ADVICE = (
    "Put it back, or begin another study with --name (in Python name=...). With --accept-changes (in Python "
    "accept_changes=True) this one goes on: its trials so far are kept, and compared no more"
)


@dataclass(frozen=True)
class StoredStudy:
    """A study as it is stored.

    Attributes:
        plan: of a study that trains the best trials of another again; None for a search.
        parent_id: of that other study; None where it was deleted since.
    """

    study_id: int
    name: str
    resolved: ResolvedStudy
    state: StudyState  # as requested
    state_reason: str | None
    trials_target: int
    created: float  # seconds since 1970, UTC
    change_accepted: float | None = None  # when it last went on with other data or code
    plan: Plan | None = None
    parent_id: int | None = None


def create_or_continue(
    store: Store,
    resolved: ResolvedStudy,
    *,
    is_change_accepted: bool = False,
    plan: Plan | None = None,
    parent_id: int | None = None,
    points: Sequence[Mapping[str, Any]] = (),
    earlier: Earlier | None = None,
) -> tuple[StoredStudy, str]:
    """Create the study, or continue it, with the limits that the file has changed.

    A limit that `hpo set` changed stays, as long as the file's value is the same as before.

    Args:
        is_change_accepted: go on although the data or the code is other than before; the earlier trials are marked,
            and compared no more.
        plan: its trials, if it trains those of the study `parent_id` again.
        points: that a new study tries after those of its file, and before all others.
        earlier: what the studies that a new one starts from know.

    Returns:
        The study, and a line that says whether it was created, continued, extended or shortened, after what was taken
        over from earlier studies.

    Raises:
        StoreError: the store has a study of this name that searches something else, or with other data or code.
    """
    name = resolved.spec.study
    try:
        with store.write() as connection:
            row = connection.execute(_query().where(studies.c.study_name == name).with_for_update(of=studies)).first()
            if row is None:
                message = f"study {name} created: {resolved.spec.budget}"
                study_id = create(connection, resolved)
                firsts = [*resolved.spec.points, *points]
                if count := insert_points(connection, study_id, resolved.space, firsts, number=0):
                    message += f"; {counted(count, 'point')} {'is' if count == 1 else 'are'} tried first"
                if earlier is not None:
                    add_finding(connection, study_id, EARLIER, earlier.to_json())
                    message = f"{earlier}\n{message}"
            else:
                study = _stored(row, name)
                study_id = study.study_id
                if (study.plan is None) != (plan is None):
                    kind = "trains the best trials of a search again" if plan is None else "is a search"
                    raise StoreError(f"study '{name}' {kind}: begin another study with another name")
                if differences := resolved.differences(study.resolved):
                    lines = "".join(f"\n  {line}" for line in differences)
                    raise StoreError(
                        f"study '{name}' is in the store already, and searches something else:{lines}\n"
                        "Continue it with the file as it was, or begin another study with --name (in Python name=...)"
                    )
                changes = changed_inputs(resolved.inputs, study.resolved.inputs)
                if changes and not is_change_accepted:
                    lines = "".join(f"\n  {line}" for line in changes)
                    raise StoreError(f"study '{name}' began with other data or code:{lines}\n{_ADVICE}")
                marked = accept_changes(connection, study.study_id, name, changes) if changes else 0
                with wall_clock_kept(connection, study.study_id) as hours:
                    message = _continue(connection, study, resolved, hours=hours)
                if changes:
                    kept = f"{counted(marked, 'trial')} from before the change {'is' if marked == 1 else 'are'} kept"
                    message += f"; {kept}, and compared no more"
            if plan is not None:
                enter_plan(connection, study_id, plan, resolved.space, parent_id=parent_id)
    except IntegrityError:  # another process created it between our query and our insert
        return create_or_continue(
            store,
            resolved,
            is_change_accepted=is_change_accepted,
            plan=plan,
            parent_id=parent_id,
            points=points,
            earlier=earlier,
        )
    return load_study(store, name), message


def load_study(store: Store, name: str) -> StoredStudy:
    """The study of this name.

    Raises:
        StoreError: there is none; names the nearest.
    """
    with store.read() as connection:
        row = connection.execute(_query().where(studies.c.study_name == name)).first()
        if row is None:
            raise no_such_study(connection, name)
    return _stored(row, name)


@dataclass(frozen=True)
class Bounds:
    """A running study and its bounds: one that is over can only continue when a bound changes."""

    name: str
    trials_target: int
    limits: str  # JSON
    started: float | None
    change_accepted: float | None


def bounds_of_running(store: Store) -> dict[int, Bounds]:
    """The studies in the state `running`, by the store's id, the oldest first; also those with nothing left to do."""
    with store.read() as connection:
        rows = connection.execute(
            select(
                studies.c.study_id,
                studies.c.study_name,
                hpo_studies.c.trials_target,
                hpo_studies.c.limits,
                hpo_studies.c.started,
                hpo_studies.c.change_accepted,
            )
            .join(hpo_studies, hpo_studies.c.study_id == studies.c.study_id)
            .where(hpo_studies.c.state == StudyState.RUNNING)
            .order_by(studies.c.study_id)
        ).all()
    return {row.study_id: Bounds(*row[1:]) for row in rows}


def set_study_state(store: Store, study_id: int, state: StudyState, reason: str | None = None) -> None:
    """Set the study's state, and the reason for it."""
    with store.write() as connection:
        connection.execute(
            update(hpo_studies).where(hpo_studies.c.study_id == study_id).values(state=state, state_reason=reason)
        )


def end_with_its_trials(store: Store, study_id: int, reason: str) -> bool:
    """Let no trial begin beyond those that there are; false where none would have, by now.

    Args:
        reason: for the end, in words.
    """
    with store.write() as connection:
        lock_study(connection, study_id)
        counts = counts_of(connection, study_id)
        target = counts.claimed + counts.waiting
        if target >= counts.target:
            return False
        values: dict[str, Any] = {"trials_target": target, "state_reason": reason}
        if target == 0:  # all were refused
            values = {"state": StudyState.STOPPED, "state_reason": reason}
        with wall_clock_kept(connection, study_id):
            connection.execute(update(hpo_studies).where(hpo_studies.c.study_id == study_id).values(**values))
    return True


def _query() -> Select[Any]:
    return select(
        studies.c.study_id,
        studies.c.study_name,
        hpo_studies.c.spec,
        hpo_studies.c.space,
        hpo_studies.c.state,
        hpo_studies.c.state_reason,
        hpo_studies.c.trials_target,
        hpo_studies.c.created,
        hpo_studies.c.change_accepted,
        hpo_studies.c.plan,
        hpo_studies.c.parent_id,
    ).outerjoin(hpo_studies, hpo_studies.c.study_id == studies.c.study_id)


def _stored(row: Any, name: str) -> StoredStudy:
    if row.spec is None:
        raise StoreError(
            f"study '{name}' in this store was created by another program, without a study file: it can be read, "
            "not run. Choose another name with --name"
        )
    resolved = ResolvedStudy.from_json(row.spec, row.space)
    return StoredStudy(
        row.study_id,
        name,
        resolved,
        StudyState(row.state),
        row.state_reason,
        row.trials_target,
        row.created,
        row.change_accepted,
        None if row.plan is None else Plan.from_json(row.plan),
        row.parent_id,
    )


def create(connection: Connection, resolved: ResolvedStudy, *, created: float | None = None) -> int:
    """Create a study, in a transaction of the caller; its number in the store.

    Args:
        created: seconds since 1970, by the database's clock; by default, now.
    """
    spec = resolved.spec
    inserted = connection.execute(insert(studies).values(study_name=spec.study))
    study_id = int(inserted.inserted_primary_key[0])  # type: ignore[index]
    connection.execute(
        insert(study_directions),
        [
            {"study_id": study_id, "objective": place, "direction": direction.optuna}
            for place, direction in enumerate(spec.objectives.directions)
        ],
    )
    connection.execute(
        insert(study_system_attributes).values(
            study_id=study_id, key=METRIC_NAMES, value_json=json.dumps(spec.objectives.metrics)
        )
    )
    space = json.dumps(resolved.space.to_json())
    connection.execute(
        insert(hpo_studies).values(
            study_id=study_id,
            spec=resolved.to_json(),
            space=space,
            trials_target=spec.budget.trials_target,
            limits=json.dumps(spec.budget.limits),
            priority=spec.priority,
            created=db_now() if created is None else created,
        )
    )
    return study_id


def _continue(connection: Connection, study: StoredStudy, resolved: ResolvedStudy, *, hours: float) -> str:
    mine = hpo_studies.c.study_id == study.study_id
    resolved = replace(resolved, inputs=inputs_to_continue(resolved.inputs, study.resolved.inputs))
    target = resolved.spec.budget.trials_target
    changed: dict[str, Any] = {"state": StudyState.RUNNING, "state_reason": None}
    before, now = study.resolved.spec, resolved.spec
    # In a part that may change (limits, retries, ...); or its data or its code.
    if now != before or resolved.inputs != study.resolved.inputs:
        changed["spec"] = resolved.to_json()
    # A limit that is unchanged in the file stays as `hpo set` left it.
    news = {key: limit for key, limit in now.budget.limits.items() if limit != before.budget.limits[key]}
    if news:
        limits = connection.scalar(select(hpo_studies.c.limits).where(mine))
        changed["limits"] = json.dumps(json.loads(limits or "{}") | news)
    if now.priority != before.priority:
        changed["priority"] = now.priority
    connection.execute(update(hpo_studies).where(mine).values(**changed))
    counts = counts_of(connection, study.study_id)
    had, is_unchanged = trials_in_words(study.trials_target), target == before.budget.trials_target
    if target != study.trials_target and not is_unchanged:
        connection.execute(update(hpo_studies).where(mine).values(trials_target=target))
        verb = "extended" if target > study.trials_target else "shortened"
        message = f"study {study.name} {verb} from {had} to {trials_in_words(target)}, {counts.ended} of them ended"
    else:
        of = "" if study.trials_target == UNLIMITED else f" of {study.trials_target}"
        message = f"study {study.name} continued: {counts.ended}{of} trials ended"
        if target != study.trials_target:
            message += f" ('hpo set' changed them to {had}; the file still says {trials_in_words(target)})"
    added = [point for point in now.points if point not in before.points]
    if count := insert_points(connection, study.study_id, resolved.space, added, number=counts.next_number):
        message += f"; {counted(count, 'new point')} {'waits' if count == 1 else 'wait'}"
    return message + apply_limits(connection, study.study_id, study.name, hours=hours)
