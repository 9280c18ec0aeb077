"""The progress of all studies of a store, by a fixed number of statements."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, select, true

from hpo.queue.budget import settled, spent_of_each
from hpo.queue.counts import TrialCounts
from hpo.queue.front import all_objectives, objectives_of
from hpo.queue.progress import Progress, trials_by_state, untrained_trials
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


def overview(connection: Connection, study_id: int | None = None) -> list[StudyOverview]:
    """All studies, the oldest first, or one of them, within a transaction of the caller.

    What a study of several objectives with other limits than a number of trials has spent takes a few statements more.
    """
    wanted = true() if study_id is None else studies.c.study_id == study_id
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
        .where(wanted)
        .order_by(studies.c.study_id)
    ).all()
    objectives = all_objectives(connection)
    limits: dict[int, Mapping[str, float | None]] = {row.study_id: json.loads(row.limits or "{}") for row in rows}
    limited = [key for key, found in limits.items() if any(limit is not None for limit in found.values())]
    for key in limited:
        if objectives[key].are_several:
            objectives[key] = objectives_of(connection, key)  # with its reference
    spent = spent_of_each(connection, {key: objectives[key] for key in limited})
    targets = {row.study_id: row.trials_target for row in rows if row.created is not None}
    counts = trial_counts(connection, targets, study_id)
    found = []
    for row in rows:
        progress = Progress(
            StudyState(row.state or StudyState.RUNNING),
            row.state_reason,
            counts.get(row.study_id, TrialCounts(target=row.trials_target or 0)),
            priority=1.0 if row.priority is None else row.priority,
            limits=limits[row.study_id],
            created=row.created,
            change_accepted=row.change_accepted,
        )
        if row.study_id in spent:
            its, is_complete = progress.counts, progress.state.is_ending
            settled_spent, limit = settled(
                spent[row.study_id],
                progress.limits,
                objectives[row.study_id],
                is_complete=is_complete or its.ended >= its.target,
                is_running=its.begun > 0,
            )
            progress = replace(progress, spent=settled_spent, limit=limit)
        found.append(StudyOverview(row.study_id, row.study_name, objectives[row.study_id], progress))
    return found


def trial_counts(
    connection: Connection, targets: Mapping[int, int], study_id: int | None = None
) -> dict[int, TrialCounts]:
    """The trials of each study that has any.

    Args:
        targets: of the studies of ours.
        study_id: of this study only.
    """
    wanted = true() if study_id is None else trials.c.study_id == study_id
    by_study: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(trials_by_state().where(wanted)):
        by_study[row.study_id].append(row)
    untrained = untrained_trials().add_columns(trials.c.study_id).where(wanted).group_by(trials.c.study_id)
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
