"""What optuna-dashboard shows of a trial beside what Optuna stores: read from our tables, at no cost to a search."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from optuna.trial import FrozenTrial
from sqlalchemy import Connection, select

from hpo.dashboard.files import attributes_of_files
from hpo.store.tables import hpo_attempts, hpo_workers, trials
from hpo.study.constraints import of_attributes

_MOST_NAMED = 500  # trials in a statement


@dataclass
class Attempts:
    """Of one trial: their number, what they took together, and who has, or had, the last of them.

    Attributes:
        memory: bytes at the peak of them all, where it was measured.
    """

    number: int = 0
    seconds: float = 0.0
    memory: int = 0
    worker: str = ""
    device: str | None = None


def attempts_of(connection: Connection, study_id: int, trial_ids: Collection[int]) -> dict[int, Attempts]:
    """The attempts of trials of a study, by the trial's id."""
    its = hpo_attempts.c
    rows = (
        select(its.trial_id, its.number, its.seconds, its.device, its.memory, hpo_workers.c.host, hpo_workers.c.pid)
        .join_from(hpo_attempts, hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .order_by(hpo_attempts.c.trial_id, hpo_attempts.c.number)
    )
    if len(trial_ids) <= _MOST_NAMED:
        rows = rows.where(hpo_attempts.c.trial_id.in_(trial_ids))
    else:
        rows = rows.join(trials, trials.c.trial_id == hpo_attempts.c.trial_id).where(trials.c.study_id == study_id)
    found: dict[int, Attempts] = {}
    for row in connection.execute(rows):
        of_trial = found.setdefault(row.trial_id, Attempts())
        of_trial.number, of_trial.seconds = row.number, of_trial.seconds + (row.seconds or 0.0)
        of_trial.memory = max(of_trial.memory, row.memory or 0)
        of_trial.worker, of_trial.device = f"{row.host}:{row.pid}", row.device
    return found


def add_facts(trial: FrozenTrial, attempts: Attempts | None, *, has_confusion: bool) -> None:
    """Add to the attributes of a trial; what it has been given already stays."""
    system = dict(trial.system_attrs)
    if judged := of_attributes(system):
        system["constraints"] = list(judged.values())  # where optuna-dashboard looks for them
    if attempts is not None:
        facts: dict[str, float | str] = {"attempt": attempts.number, "worker": attempts.worker}
        facts |= {} if attempts.device is None else {"device": attempts.device}
        facts |= {"seconds": round(attempts.seconds, 3)} if attempts.seconds else {}
        facts |= {"memory in MiB": round(attempts.memory / 2**20)} if attempts.memory else {}
        facts |= {"epochs": max(trial.intermediate_values)} if trial.intermediate_values else {}
        trial.user_attrs = {**facts, **trial.user_attrs}
        has_curve = bool(trial.intermediate_values)
        system |= attributes_of_files(trial._trial_id, has_curve=has_curve, has_confusion=has_confusion)
    trial.system_attrs = system
