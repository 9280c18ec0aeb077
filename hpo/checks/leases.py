"""Trials that run as far as the store knows, and whether anybody still trains them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection, func, insert, select, update

from hpo.checks.finding import Finding, Scene, listed
from hpo.leases import LEASE_SECONDS, LOST
from hpo.store import Store
from hpo.store.clock import db_now, db_utc
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_trials, hpo_workers, studies, trials

ENDED = "ended: its study was {state}, and nobody trained it"
ENDED_STATES = ("stopped", "killed")

# Optuna's scripts write their machine's local time, which is off by 14 hours at most
_LONG = timedelta(days=1)


@dataclass(frozen=True)
class _Running:
    """A trial that is RUNNING in the store."""

    trial_id: int
    number: int
    study: str
    state: str | None  # desired, of the study; None for another program's study
    started: datetime | None
    attempts: int
    is_open: bool  # an attempt has not ended
    is_held: bool  # and its lease has not run out


def check_leases(scene: Scene) -> Iterator[Finding]:
    """Running trials whose lease ran out, that wait for a worker, whose study has ended, or that are not ours."""
    with scene.store.read() as connection:
        running = _running(connection)
        left_open = _left_open(connection)
    by_study: dict[str, list[_Running]] = defaultdict(list)
    for trial in running:
        by_study[trial.study].append(trial)
    is_well = not left_open
    for study, found in by_study.items():
        state = found[0].state
        expired = [trial for trial in found if trial.is_open and not trial.is_held]
        idle = [trial for trial in found if trial.attempts and not trial.is_open]
        foreign = [trial for trial in found if not trial.attempts]
        is_well = is_well and not (expired or idle or foreign)
        if expired:
            yield _expired(study, expired)
        if idle and state in ENDED_STATES:
            yield _of_ended_study(study, state, idle)
        elif idle:
            mend = "start a worker, which takes them on" if state == "running" else f"they go on with: hpo run {study}"
            yield Finding("note", "orphans", f"{_trials(idle)} without a worker: handed back or lost", study, mend)
        if foreign:
            yield _of_other_programs(study, state, foreign)
    if left_open:
        yield Finding(
            "problem",
            "leases",
            f"attempts of {len(left_open)} trials that have ended are still open",
            "",
            "hpo doctor --repair closes them",
            partial(_close_left_open, trial_ids=left_open),
        )
    if is_well:
        yield Finding("ok", "leases", f"{len(running)} running trials, each with a worker")


def check_workers(scene: Scene) -> Iterator[Finding]:
    """Workers that beat, and those that vanished."""
    silence = db_now() - hpo_workers.c.beat
    with scene.store.read() as connection:
        rows = connection.execute(
            select(hpo_workers.c.host, hpo_workers.c.pid, silence.label("silence")).where(hpo_workers.c.ended.is_(None))
        ).all()
    silent = [f"{row.host}:{row.pid}" for row in rows if row.silence > LEASE_SECONDS]
    yield Finding("ok", "workers", f"{len(rows) - len(silent)} at work")
    if silent:
        mend = "killed, or cut off from the store; their logs tell. Their trials are taken on by others"
        yield Finding("note", "workers", f"{len(silent)} went silent without ending: {listed(silent)}", mend=mend)


def _running(connection: Connection) -> list[_Running]:
    is_open = hpo_attempts.c.ended.is_(None)
    counted = (
        select(
            hpo_attempts.c.trial_id,
            func.count().label("attempts"),
            func.count().filter(is_open).label("open"),
            func.count().filter(is_open, hpo_attempts.c.lease_until >= db_now()).label("held"),
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
            func.coalesce(counted.c.held, 0).label("held"),
        )
        .join(studies, studies.c.study_id == trials.c.study_id)
        .outerjoin(hpo_studies, hpo_studies.c.study_id == trials.c.study_id)
        .outerjoin(counted, counted.c.trial_id == trials.c.trial_id)
        .where(trials.c.state == "RUNNING")
        .order_by(studies.c.study_id, trials.c.number)
    )
    return [
        _Running(
            trial_id=row.trial_id,
            number=row.number,
            study=row.study_name,
            state=row.state,
            started=row.datetime_start,
            attempts=row.attempts,
            is_open=row.open > 0,
            is_held=row.held > 0,
        )
        for row in rows
    ]


def _expired(study: str, expired: list[_Running]) -> Finding:
    return Finding(
        "problem",
        "leases",
        f"{_trials(expired)}: the lease has run out, so the worker is gone",
        study,
        "a worker takes them on at its next claim; hpo doctor --repair closes the leases at once",
        partial(_close, study=study, trial_ids=[trial.trial_id for trial in expired]),
    )


def _of_ended_study(study: str, state: str | None, idle: list[_Running]) -> Finding:
    return Finding(
        "problem",
        "orphans",
        f"{_trials(idle)} as the store says, but the study is {state} and nobody trains them",
        study,
        f"go on with 'hpo run', or let hpo doctor --repair end them as failed; their curves stay ({study})",
        partial(_end, study=study, trial_ids=[trial.trial_id for trial in idle]),
    )


def _of_other_programs(study: str, state: str | None, foreign: list[_Running]) -> Finding:
    now = datetime.now(UTC).replace(tzinfo=None)
    is_long_ago = any(trial.started is None or now - trial.started > _LONG for trial in foreign)
    numbers = " ".join(f"--trial-number {trial.number}" for trial in foreign[:1])
    takes = ", and takes its place in the budget" if state is not None else ""
    return Finding(
        "problem" if is_long_ago and state is not None else "note",
        "other programs",
        f"{_trials(foreign)} by an Optuna script, without a lease: nobody can tell whether it lives{takes}",
        study,
        f"if it does not: optuna tell --storage URL --study-name {study} {numbers} --state fail",
    )


def _trials(found: list[_Running]) -> str:
    numbers = listed([str(trial.number) for trial in found])
    return f"trial {numbers} is running" if len(found) == 1 else f"trials {numbers} are running"


def _left_open(connection: Connection) -> list[int]:
    return list(
        connection.scalars(
            select(trials.c.trial_id)
            .join(hpo_attempts, hpo_attempts.c.trial_id == trials.c.trial_id)
            .where(trials.c.state.not_in(["RUNNING", "WAITING"]), hpo_attempts.c.ended.is_(None))
            .distinct()
        )
    )


def _close(store: Store, study: str, trial_ids: list[int]) -> str | None:
    with store.write() as connection:
        closed = connection.execute(
            update(hpo_attempts)
            .where(
                hpo_attempts.c.trial_id.in_(trial_ids),
                hpo_attempts.c.ended.is_(None),
                hpo_attempts.c.lease_until < db_now(),
            )
            .values(ended=hpo_attempts.c.lease_until, kind="crash", cause=LOST)
        ).rowcount
    return f"{study}: closed {closed} expired leases" if closed else None


def _close_left_open(store: Store, trial_ids: list[int]) -> str | None:
    over = select(trials.c.trial_id).where(
        trials.c.trial_id.in_(trial_ids), trials.c.state.not_in(["RUNNING", "WAITING"])
    )
    with store.write() as connection:
        closed = connection.execute(
            update(hpo_attempts)
            .where(hpo_attempts.c.trial_id.in_(over), hpo_attempts.c.ended.is_(None))
            .values(ended=db_now(), lease_until=db_now(), kind="crash", cause=LOST)
        ).rowcount
    return f"closed {closed} attempts of trials that had ended" if closed else None


def _end(store: Store, study: str, trial_ids: list[int]) -> str | None:
    open_attempts = select(hpo_attempts.c.trial_id).where(hpo_attempts.c.ended.is_(None))
    with store.write() as connection:
        # locked as a claim locks it, so that no worker takes a trial on while we end it
        state = connection.scalar(
            select(hpo_studies.c.state)
            .join(studies, studies.c.study_id == hpo_studies.c.study_id)
            .where(studies.c.study_name == study)
            .with_for_update(of=[studies, hpo_studies])
        )
        if state not in ENDED_STATES:
            return None
        ended = connection.scalars(
            select(trials.c.trial_id).where(
                trials.c.trial_id.in_(trial_ids),
                trials.c.state == "RUNNING",
                trials.c.trial_id.not_in(open_attempts),
            )
        ).all()
        mine = hpo_trials.c.trial_id
        known = set(connection.scalars(select(mine).where(mine.in_(ended))))
        cause = ENDED.format(state=state)
        connection.execute(update(hpo_trials).where(mine.in_(ended)).values(cause=cause))
        fresh = [{"trial_id": trial_id, "cause": cause} for trial_id in ended if trial_id not in known]
        if fresh:
            connection.execute(insert(hpo_trials), fresh)
        connection.execute(
            update(trials).where(trials.c.trial_id.in_(ended)).values(state="FAIL", datetime_complete=db_utc())
        )
    return f"{study}: ended {len(ended)} trials that nobody trained" if ended else None
