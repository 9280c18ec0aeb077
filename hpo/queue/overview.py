"""The progress of all studies of a store, by a fixed number of statements."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from hpo.queue.counts import TrialCounts
from hpo.queue.front import all_objectives
from hpo.queue.progress import Progress, progress_of, trials_by_state, untrained_trials
from hpo.store.tables import hpo_studies, studies, trials
from hpo.study.objectives import Objectives
from hpo.study.states import StudyState


@dataclass(frozen=True)
class StudyOverview:
    """A study with its progress.

    Attributes:
        objectives: without a reference.
    """

    study_id: int
    name: str
    objectives: Objectives
    progress: Progress


def overview(connection: Connection) -> list[StudyOverview]:
    """All studies, the oldest first, within a transaction of the caller.

    What a study with other limits than a number of trials has spent takes a few statements more, for each of them.
    """
    rows = connection.execute(
        select(
            studies.c.study_id,
            studies.c.study_name,
            hpo_studies.c.state,
            hpo_studies.c.state_reason,
            hpo_studies.c.trials_target,
            hpo_studies.c.limits,
            hpo_studies.c.priority,
            hpo_studies.c.created,
            hpo_studies.c.change_accepted,
        )
        .select_from(studies.outerjoin(hpo_studies))
        .order_by(studies.c.study_id)
    ).all()
    objectives = all_objectives(connection)
    counts = trial_counts(connection, {row.study_id: row.trials_target for row in rows if row.created is not None})
    found = []
    for row in rows:
        limits: Mapping[str, float | None] = json.loads(row.limits or "{}")
        if any(limit is not None for limit in limits.values()):
            progress = progress_of(connection, row.study_id)
        else:
            progress = Progress(
                StudyState(row.state or StudyState.RUNNING),
                row.state_reason,
                counts.get(row.study_id, TrialCounts(target=row.trials_target or 0)),
                priority=1.0 if row.priority is None else row.priority,
                limits=limits,
                created=row.created,
                change_accepted=row.change_accepted,
            )
        found.append(StudyOverview(row.study_id, row.study_name, objectives[row.study_id], progress))
    return found


def trial_counts(connection: Connection, targets: Mapping[int, int]) -> dict[int, TrialCounts]:
    """The trials of each study that has any.

    Args:
        targets: of the studies of ours.
    """
    by_study: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(trials_by_state()):
        by_study[row.study_id].append(row)
    untrained = untrained_trials().add_columns(trials.c.study_id).group_by(trials.c.study_id)
    waiting = {row.study_id: row for row in connection.execute(untrained)}
    return {key: _of_study(rows, targets.get(key), waiting.get(key)) for key, rows in by_study.items()}


def _of_study(rows: Sequence[Row[Any]], target: int | None, untrained: object) -> TrialCounts:
    is_ours = target is not None
    return TrialCounts.of_states(
        {row.of: row.ours if is_ours else row.number for row in rows},
        foreign=sum(row.number - row.ours for row in rows) if is_ours else 0,
        refused=sum(row.refusals for row in rows),
        target=target or 0,
        idle=getattr(untrained, "not_at_rung", 0),
        paused=getattr(untrained, "at_rung", 0),
        held=getattr(untrained, "held", 0),
    )
