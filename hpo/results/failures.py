"""Why trials of a study have failed: by cause, with an example of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from hpo.errors import failure_in_words
from hpo.store.tables import hpo_trials, studies, trials
from hpo.study.states import OptunaState

UNKNOWN = "unknown"  # of a trial that another program has failed


@dataclass(frozen=True)
class FailedAlike:
    """Trials of a study that have failed for the same cause.

    Attributes:
        last: the number of the last one.
        example: its failure in a line.
    """

    study: str
    cause: str
    trials: int
    last: int
    example: str


def failures_by_cause(connection: Connection, study_id: int | None = None, *, most: int = 20) -> list[FailedAlike]:
    """The most frequent causes first, at most so many, with one statement; those of one study, or of all."""
    cause = func.coalesce(hpo_trials.c.cause, UNKNOWN)
    last: Any = func.max(trials.c.number)
    grouped = (
        select(trials.c.study_id, cause.label("cause"), func.count().label("trials"), last.label("last"))
        .select_from(trials.outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id))
        .where(trials.c.state == OptunaState.FAIL)
        .group_by(trials.c.study_id, cause)
        .order_by(func.count().desc(), trials.c.study_id, last.desc())
        .limit(most)
    )
    if study_id is not None:
        grouped = grouped.where(trials.c.study_id == study_id)
    groups = grouped.subquery()
    rows = connection.execute(
        select(groups, studies.c.study_name, hpo_trials.c.error)
        .select_from(
            groups.join(studies, studies.c.study_id == groups.c.study_id)
            .join(trials, (trials.c.study_id == groups.c.study_id) & (trials.c.number == groups.c.last))
            .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        )
        .order_by(groups.c.trials.desc(), groups.c.study_id, groups.c.last.desc())
    )
    return [
        FailedAlike(row.study_name, row.cause, row.trials, row.last, failure_in_words(row.cause, row.error))
        for row in rows
    ]
