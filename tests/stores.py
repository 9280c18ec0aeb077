"""Writing into a store as a worker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, inspect, select, table

from hpo.queue.claim import Claim
from hpo.queue.control import request_study, request_trial
from hpo.queue.report import end_attempt
from hpo.store import Store
from hpo.store.tables import hpo_audit, hpo_settings, hpo_tokens, hpo_users, hpo_workers, studies
from hpo.study.states import AttemptEnd, Request, StudyState


def write(store: Store, function: Callable[..., bool], *arguments: Any, **options: Any) -> bool:
    """Run one of hpo.queue.report in a transaction of its own; its result."""
    with store.write() as connection:
        return function(connection, *arguments, **options)


def hand_back(store: Store, claim: Claim, *, seconds: float = 1.0, checkpoint: str | None = None) -> bool:
    """End the attempt as a worker does that is asked to end."""
    cause = "preempted: by its worker"
    return write(
        store, end_attempt, claim, end=AttemptEnd.PREEMPTED, cause=cause, seconds=seconds, checkpoint=checkpoint
    )


def ask_study(store: Store, name: str, verb: str) -> str:
    """What the command `hpo VERB STUDY` does."""
    states = {"pause": StudyState.PAUSED, "resume": StudyState.RUNNING, "stop": StudyState.STOPPED}
    return request_study(store, name, states.get(verb, StudyState.KILLED))


def ask_trial(store: Store, name: str, number: int, verb: str) -> str:
    """What the command `hpo VERB STUDY TRIAL` does."""
    return request_trial(store, name, number, None if verb == "resume" else Request(verb))


OF_NO_STUDY = {hpo_workers.name, hpo_settings.name, hpo_users.name, hpo_tokens.name, hpo_audit.name}


def everything(store: Store) -> dict[str, int]:
    """The number of rows of every table of studies: not of the schema's version, of workers, of the server's users."""
    with store.read() as connection:
        names = inspect(connection).get_table_names()
        return {
            name: connection.scalar(select(func.count()).select_from(table(name))) or 0
            for name in sorted(names)
            if "version" not in name and name not in OF_NO_STUDY
        }


def study_exists(store: Store, name: str) -> bool:
    """Whether the store has a study of this name."""
    with store.read() as connection:
        return connection.execute(select(studies.c.study_id).where(studies.c.study_name == name)).first() is not None
