"""Trials that are running according to the store, and whether a worker still trains them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection, func, select

from hpo.doctor.finding import CheckContext, Finding, listed
from hpo.printable import counted
from hpo.queue.idle import end_idle_trials
from hpo.queue.leases import close_stray_attempts, expire_leases
from hpo.queue.progress import find_study, lock_study
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_workers, studies, trials
from hpo.study.states import OPTUNA_ENDED, OptunaState, StudyState

# Optuna's scripts write their machine's local time, which is off by 14 hours at most
_LONG = timedelta(days=1)


@dataclass(frozen=True)
class _Running:
    """A trial that is RUNNING in the store."""

    trial_id: int
    number: int
    study: str
    state: StudyState | None  # desired, of the study; None for another program's study
    started: datetime | None
    attempts: int
    is_open: bool  # an attempt has not ended
    is_leased: bool  # and its lease has not run out


def check_leases(context: CheckContext) -> Iterator[Finding]:
    """Running trials with an expired lease, without a worker, of an ended study, or of another program."""
    with context.store.read() as connection:
        running = _running(connection)
        left_open = _left_open(connection)
    by_study: dict[str, list[_Running]] = defaultdict(list)
    for trial in running:
        by_study[trial.study].append(trial)
    is_well = not left_open
    for study, found in by_study.items():
        state = found[0].state
        expired = [trial for trial in found if trial.is_open and not trial.is_leased]
        idle = [trial for trial in found if trial.attempts and not trial.is_open]
        foreign = [trial for trial in found if not trial.attempts]
        is_well = is_well and not (expired or idle or foreign)
        if expired:
            yield _expired(study, expired)
        if idle and state is not None and state.is_ending:
            yield _of_ended_study(study, state, idle)
        elif idle:
            remedy = (
                "start a worker, which continues them"
                if state == StudyState.RUNNING
                else f"continue them with: hpo run {study}"
            )
            yield Finding("note", "orphans", f"{_trials(idle)} without a worker: handed back or lost", study, remedy)
        if foreign:
            yield _of_other_programs(study, state, foreign)
    if left_open:
        yield Finding(
            "problem",
            "leases",
            f"attempts of {counted(left_open, 'ended trial')} are still open",
            "",
            "hpo doctor --repair closes them",
            _close_left_open,
        )
    if is_well:
        yield Finding("ok", "leases", f"{len(running)} running trials, each with a worker")


def check_workers(context: CheckContext) -> Iterator[Finding]:
    """Workers that send heartbeats, and those that have stopped to."""
    silence = db_now() - hpo_workers.c.beat
    with context.store.read() as connection:
        rows = connection.execute(
            select(hpo_workers.c.host, hpo_workers.c.pid, silence.label("silence")).where(hpo_workers.c.ended.is_(None))
        ).all()
    silent = [f"{row.host}:{row.pid}" for row in rows if row.silence > context.store.timing.lease]
    yield Finding("ok", "workers", f"{len(rows) - len(silent)} at work")
    if silent:
        remedy = "killed, or cut off from the store: see their logs. Other workers continue their trials"
        yield Finding("note", "workers", f"{len(silent)} stopped sending heartbeats: {listed(silent)}", remedy=remedy)


def _running(connection: Connection) -> list[_Running]:
    is_open = hpo_attempts.c.ended.is_(None)
    counted = (
        select(
            hpo_attempts.c.trial_id,
            func.count().label("attempts"),
            func.count().filter(is_open).label("open"),
            func.count().filter(is_open, hpo_attempts.c.lease_until >= db_now()).label("leased"),
        )
        .group_by(hpo_attempts.c.trial_id)
        .subquery()
    )
    rows = connection.execute(
        select(
            trials.c.trial_id,
            trials.c.number,
            trials.c.datetime_start,
            studies.c.study_name,
            hpo_studies.c.state,
            func.coalesce(counted.c.attempts, 0).label("attempts"),
            func.coalesce(counted.c.open, 0).label("open"),
            func.coalesce(counted.c.leased, 0).label("leased"),
        )
        .join(studies, studies.c.study_id == trials.c.study_id)
        .outerjoin(hpo_studies, hpo_studies.c.study_id == trials.c.study_id)
        .outerjoin(counted, counted.c.trial_id == trials.c.trial_id)
        .where(trials.c.state == OptunaState.RUNNING)
        .order_by(studies.c.study_id, trials.c.number)
    )
    return [
        _Running(
            trial_id=row.trial_id,
            number=row.number,
            study=row.study_name,
            state=None if row.state is None else StudyState(row.state),
            started=row.datetime_start,
            attempts=row.attempts,
            is_open=row.open > 0,
            is_leased=row.leased > 0,
        )
        for row in rows
    ]


def _expired(study: str, expired: list[_Running]) -> Finding:
    return Finding(
        "problem",
        "leases",
        f"{_trials(expired)}, but the lease has run out, so the worker is lost",
        study,
        "a worker continues them at its next claim; hpo doctor --repair ends those of workers that are gone",
        partial(_expire, study=study),
    )


def _of_ended_study(study: str, state: StudyState, idle: list[_Running]) -> Finding:
    return Finding(
        "problem",
        "orphans",
        f"{_trials(idle)} according to the store, but the study is {state} and no worker trains them",
        study,
        f"continue with 'hpo run {study}', or let hpo doctor --repair end them as a worker would; their curves stay",
        partial(_end, study=study),
    )


def _of_other_programs(study: str, state: StudyState | None, foreign: list[_Running]) -> Finding:
    now = datetime.now(UTC).replace(tzinfo=None)
    is_long_ago = any(trial.started is None or now - trial.started > _LONG for trial in foreign)
    numbers = " ".join(f"--trial-number {trial.number}" for trial in foreign[:1])
    takes = ", and takes its place in the budget" if state is not None else ""
    return Finding(
        "problem" if is_long_ago and state is not None else "note",
        "other programs",
        f"{_trials(foreign)} by an Optuna script, without a lease: whether the script is alive is unknown{takes}",
        study,
        f"if it is not alive: optuna tell --storage URL --study-name {study} {numbers} --state fail",
    )


def _trials(found: list[_Running]) -> str:
    numbers = listed([str(trial.number) for trial in found])
    return f"trial {numbers} is running" if len(found) == 1 else f"trials {numbers} are running"


def _left_open(connection: Connection) -> int:
    found = (
        select(trials.c.trial_id)
        .join(hpo_attempts, hpo_attempts.c.trial_id == trials.c.trial_id)
        .where(trials.c.state.in_(OPTUNA_ENDED), hpo_attempts.c.ended.is_(None))
        .distinct()
    )
    return connection.scalar(select(func.count()).select_from(found.subquery())) or 0


def _expire(store: Store, study: str) -> str | None:
    closed = expire_leases(store, study_id=find_study(store, study)[0])
    return f"{study}: closed {len(closed)} expired leases" if closed else None


def _close_left_open(store: Store) -> str | None:
    closed = close_stray_attempts(store)
    return f"closed {counted(closed, 'attempt')} of trials that had ended" if closed else None


def _end(store: Store, study: str) -> str | None:
    study_id, _ = find_study(store, study)
    with store.write() as connection:
        lock_study(connection, study_id)  # so that no worker claims a trial while it is ended
        ended = end_idle_trials(connection, study_id)
    return f"{study}: ended {counted(len(ended), 'trial')} without a worker" if ended else None
