"""What has happened in a study that people want to be told, derived from the store: whoever looks finds the same.

Each event has an occasion, which makes it one of its kind: a trial's number, a limit, a worker. A worker that dies
before it has written one leaves it to the next that looks.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from hpo.errors import failure_in_words
from hpo.printable import in_a_line, printable
from hpo.queue.best import best_trials, ranked_trials
from hpo.queue.front import complete_points, last_improvement, objectives_of
from hpo.queue.notifications import add_notification, load_store_targets, targets_in
from hpo.queue.progress import Progress, lock_study, progress_of
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_notifications, hpo_studies, hpo_trials, studies, trials
from hpo.study.limits import UNLIMITED
from hpo.study.notify import NotifyEvent, Target, wanted_failures
from hpo.study.states import OPTUNA_ENDED, AttemptEnd, OptunaState, StudyState, TrialState

NEARLY = 0.9  # of a budget
LONGEST_TEXT = 300  # characters of a reason or a parameter
MOST_PARAMS = 40
_TOLD_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING)
_OTHER_TRIALS = 200  # that are looked through for the last one that did not fail
_NOT_A_FAILURE = (AttemptEnd.KILLED, AttemptEnd.REFUSED, StudyState.STOPPED)  # the first word of a cause


@dataclass(frozen=True)
class Happening:
    """An event, what makes it one of its kind, and what is said of it besides the state of the study."""

    event: NotifyEvent
    occasion: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class LostWorker:
    """A worker whose leases have run out, and the numbers of the study's trials that it trained."""

    worker_id: int
    host: str
    pid: int
    numbers: Sequence[int]


def signs(progress: Progress, targets: Sequence[Target], *, best: int | None) -> set[Hashable]:
    """What a look at the study's progress shows of events that these targets want: new ones call for `record`.

    It takes no statement, so that every poll can afford it.

    Args:
        best: the number of the best trial, as far as it is known.
    """
    wanted = {event for target in targets for event in target.on}
    counts = progress.counts
    found: set[Hashable] = set()
    if NotifyEvent.FINISHED in wanted:
        found |= {(one.event, one.occasion) for one in _finished(progress)}
    if NotifyEvent.NEW_BEST in wanted and counts.complete:
        found.add((NotifyEvent.NEW_BEST, best, counts.complete if best is None else 0))
    if any(counts.failed >= number for number in wanted_failures(targets)):
        found.add((NotifyEvent.FAILURES_IN_A_ROW, counts.failed))
    if NotifyEvent.BUDGET_NEARLY_SPENT in wanted:
        found |= {(one.event, one.occasion) for one in _nearly_spent(progress)}
    return found


def record(store: Store, study_id: int, *, created: float) -> list[Happening]:
    """Write what has happened in a study and was not written before; that.

    Args:
        created: when the study was, since SQLite gives the number of a deleted one to the next.
    """
    with store.write() as connection:
        lock_study(connection, study_id)  # several workers may see it at once, and each would tell another best trial
        spec = connection.scalar(
            select(hpo_studies.c.spec).where(hpo_studies.c.study_id == study_id, hpo_studies.c.created == created)
        )
        if spec is None:
            return []
        targets, store_wide = targets_in(spec), load_store_targets(connection)
        if store_wide.targets and _last_end(connection, study_id) >= store_wide.since:
            targets += store_wide.targets
        if not targets:
            return []
        progress = progress_of(connection, study_id)
        known = _known(connection, study_id)
        happened = _happened(connection, study_id, progress, targets)
        found = [one for one in happened if (one.event, one.occasion) not in known]
        for one in found:
            add_notification(
                connection, study_id, one.event, one.occasion, _content(connection, study_id, progress, one)
            )
    return found


def is_told(store: Store, study_id: int, progress: Progress) -> bool:
    """Whether it is written down that the study, which is over, has ended like this; true while it goes on."""
    with store.read() as connection:
        return {(one.event, one.occasion) for one in _finished(progress)} <= _known(connection, study_id)


def lock_those_to_tell(connection: Connection, specs: Mapping[int, str]) -> set[int]:
    """The studies of which somebody wants to be told when a worker is lost; they are locked, before their trials are.

    Args:
        specs: the study files as stored, by the study's number.
    """
    of_store = load_store_targets(connection).targets
    wanted = {
        study_id
        for study_id, spec in specs.items()
        if any(target.wants(NotifyEvent.WORKER_LOST) for target in (*targets_in(spec), *of_store))
    }
    for study_id in sorted(wanted):
        lock_study(connection, study_id)
    return wanted


def record_lost_worker(connection: Connection, study_id: int, lost: LostWorker) -> None:
    """Write that a worker was lost, in the transaction that ends its attempts."""
    detail = {"worker": f"{lost.host}:{lost.pid}", "trials_handed_back": sorted(lost.numbers)}
    one = Happening(NotifyEvent.WORKER_LOST, f"worker {lost.worker_id}", detail)
    content = _content(connection, study_id, progress_of(connection, study_id), one)
    add_notification(connection, study_id, one.event, one.occasion, content)


def _happened(
    connection: Connection, study_id: int, progress: Progress, targets: Sequence[Target]
) -> Iterator[Happening]:
    wanted = {event for target in targets for event in target.on}
    if NotifyEvent.NEW_BEST in wanted and (number := _best_complete(connection, study_id)) is not None:
        yield Happening(NotifyEvent.NEW_BEST, f"trial {number}", {})
    for number in sorted(wanted_failures(targets)):
        yield from _failures(connection, study_id, number)
    if NotifyEvent.BUDGET_NEARLY_SPENT in wanted:
        yield from _nearly_spent(progress)
    if NotifyEvent.FINISHED in wanted:
        yield from _finished(progress)


def _known(connection: Connection, study_id: int) -> set[tuple[str, str]]:
    """The events of the study that are written down, each with its occasion."""
    table = hpo_notifications.c
    rows = connection.execute(select(table.event, table.occasion).where(table.study_id == study_id))
    return {(row.event, row.occasion) for row in rows}


def _finished(progress: Progress) -> Iterator[Happening]:
    counts = progress.counts
    if progress.is_over and counts.begun == 0 and not progress.is_deleted:
        yield Happening(NotifyEvent.FINISHED, f"{counts.ended} trials, {progress.state}", {})


def _best_complete(connection: Connection, study_id: int) -> int | None:
    """The number of the best complete trial; of several objectives, of the last one that has enlarged the front."""
    objectives = objectives_of(connection, study_id)
    best: Any
    if objectives.are_several:
        best = last_improvement(complete_points(connection, study_id, objectives), objectives)
    else:
        best = connection.execute(ranked_trials(study_id, objectives.first, limit=1)).first()
    return None if best is None else int(best.number)


def _failures(connection: Connection, study_id: int, number: int) -> Iterator[Happening]:
    """Whether the last so many trials have failed; once for a row of failures, however long it grows."""
    rows = connection.execute(
        select(trials.c.number, trials.c.state, hpo_trials.c.cause, hpo_trials.c.error)
        .join(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state.in_(OPTUNA_ENDED))
        .order_by(trials.c.datetime_complete.desc(), trials.c.number.desc())
        .limit(number + _OTHER_TRIALS)
    )
    failed, before = [], "the beginning"
    for row in rows:
        if row.state != OptunaState.FAIL:
            before = f"trial {row.number}"
            break
        if (row.cause or "").partition(":")[0] not in _NOT_A_FAILURE:
            failed.append(row)
    if len(failed) >= number:
        last = _short(failure_in_words(failed[0].cause or "", failed[0].error))
        detail = {"failures_in_a_row": number, "last_failure": last, "trials_failed": sorted(r.number for r in failed)}
        yield Happening(NotifyEvent.FAILURES_IN_A_ROW, f"{number} since {before}", detail)


def _nearly_spent(progress: Progress) -> Iterator[Happening]:
    if progress.is_over:
        return
    spent, limits, counts = progress.spent, progress.limits, progress.counts
    budget: dict[str, tuple[float, float | None]] = {
        "trials": (counts.ended, None if counts.target in (0, UNLIMITED) else counts.target)
    }
    if spent is not None:
        budget |= {"hours": (spent.hours, limits.get("hours")), "gpu_hours": (spent.gpu_hours, limits.get("gpu_hours"))}
    for name, (used, limit) in budget.items():
        if limit is not None and used >= NEARLY * limit:
            detail = {"budget": name, "spent": round(used, 4), "limit": limit}
            yield Happening(NotifyEvent.BUDGET_NEARLY_SPENT, f"{name} {limit:g}", detail)


# ---- what is said


def _content(connection: Connection, study_id: int, progress: Progress, one: Happening) -> dict[str, Any]:
    """The event with the state of its study, as JSON; every text may be printed."""
    name, now = connection.execute(
        select(studies.c.study_name, db_now().label("now")).where(studies.c.study_id == study_id)
    ).one()
    counts = progress.counts
    is_done = progress.is_over and not progress.state.is_ending
    study = in_a_line(name)
    quoted = f"'{study}'" if " " in study else study
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "event": one.event,
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "study": study,
        "state": str(StudyState.DONE if is_done else progress.state),
        "reason": _short(progress.reason or progress.limit or "") or None,
        "trials": {
            "target": None if counts.target == UNLIMITED else counts.target,
            **{state: counts.by_state[state] for state in _TOLD_STATES},
        },
        "best": _best(connection, study_id),
        **one.detail,
        "look": f"hpo trials {quoted}" if one.event == NotifyEvent.FAILURES_IN_A_ROW else f"hpo best {quoted}",
    }


def _best(connection: Connection, study_id: int) -> dict[str, Any] | None:
    """The best trial with its values and parameters; while none is complete, the leading one."""
    objectives = objectives_of(connection, study_id)
    rows = best_trials(connection, study_id, objectives, limit=1)
    if not rows:
        return None
    [row] = rows
    config = connection.scalar(select(hpo_trials.c.config).where(hpo_trials.c.trial_id == row.trial_id))
    params: Mapping[str, Any] = json.loads(config).get("params", {}) if config else {}
    values = getattr(row, "values", None) if objectives.are_several else (row.value,)
    names = objectives.metrics or ("value",)
    return {
        "trial": row.number,
        "values": {_short(name): _finite(value) for name, value in zip(names, values or (), strict=False)},
        "params": {_short(name): _plain(value) for name, value in list(params.items())[:MOST_PARAMS]},
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _finite(value)
    return value if value is None or isinstance(value, bool | int) else _short(str(value))


def _short(text: str) -> str:
    """Of a text, the first line as it may be printed, and not all of a long one."""
    lines = printable(text).strip().splitlines() or [""]
    first = in_a_line(lines[0])
    return first if len(first) <= LONGEST_TEXT else f"{first[: LONGEST_TEXT - 3]}..."


def _last_end(connection: Connection, study_id: int) -> float:
    """When an attempt of the study ended last, in seconds since 1970; infinite before the first end."""
    ended = (
        select(func.max(hpo_attempts.c.ended))
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .where(trials.c.study_id == study_id)
    )
    found = connection.scalar(ended)
    return math.inf if found is None else float(found)
