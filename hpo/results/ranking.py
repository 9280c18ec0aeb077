"""The best of the trials that are asked for, of all of them or for each value of a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from hpo.queue.best import best_trials, leading_trials, ranked_trials
from hpo.results.columns import TrialColumns
from hpo.results.pareto import pareto_front
from hpo.results.query import Query, chosen_trials, groups_of
from hpo.results.trial import TrialRecord
from hpo.results.trial_records import read_records
from hpo.study.objectives import Objectives
from hpo.study.states import Direction

Group = tuple[Any, ...]


def best_of(
    connection: Connection, study_id: int, objectives: Objectives, query: Query, *, limit: int | None
) -> list[int]:
    """The store's ids of the `limit` best trials of each group, the group with the best trial first.

    In a group without a complete trial, those that were begun and have not failed are ranked. With several objectives,
    the Pareto-optimal trials of the group, by the first objective.

    Args:
        limit: None for all.
    """
    first = objectives.first
    if not objectives.are_several and not query.is_narrow:
        return [row.trial_id for row in best_trials(connection, study_id, objectives, limit=limit)]
    source = TrialColumns(connection, study_id, first)
    asked = chosen_trials(source, query)
    of_all = groups_of(source, query) if query.by else dict.fromkeys(asked, ())
    groups = {trial_id: of_all[trial_id] for trial_id in asked}
    if not objectives.are_several:
        best = _ranked(connection, study_id, first, groups, limit=limit)
    else:
        records = read_records(connection, study_id, None, objectives=objectives, has_curves=False)
        best = _pareto(records, objectives, groups, limit=limit)
    is_best = set(best)
    return [trial_id for trial_id in asked if trial_id in is_best] if query.sort else best


def _ranked(
    connection: Connection, study_id: int, direction: Direction, groups: Mapping[int, Group], *, limit: int | None
) -> list[int]:
    found: dict[Group, list[int]] = {}
    for ranking in (ranked_trials, leading_trials):
        here: dict[Group, list[int]] = {}
        for row in connection.execute(ranking(study_id, direction)):
            group = groups.get(row.trial_id)
            if group is None or group in found:
                continue
            if limit is None or len(here.setdefault(group, [])) < limit:
                here[group].append(row.trial_id)
        found |= here
    return [trial_id for best in found.values() for trial_id in best]


def _pareto(
    records: Mapping[int, TrialRecord], objectives: Objectives, groups: Mapping[int, Group], *, limit: int | None
) -> list[int]:
    id_of = {record.number: trial_id for trial_id, record in records.items()}
    fronts = []
    for group in dict.fromkeys(groups.values()):
        members = [records[trial_id] for trial_id, its in groups.items() if its == group]
        fronts.append(pareto_front(members, objectives)[:limit])
    fronts = sorted((front for front in fronts if front), key=lambda front: objectives.costs(front[0].values))
    return [id_of[record.number] for front in fronts for record in front]
