"""The best of the trials that are asked for, of all of them or for each value of a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from hpo.errors import SpecError
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
    if query.by_expected:
        if objectives.are_several:
            count = len(objectives.directions)
            raise SpecError(f"{query.dashes}by: expected is of one objective, and the study has {count}")
        best = _ranked_as_expected(connection, study_id, first, groups, limit=limit)
    elif not objectives.are_several:
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
            members = here.setdefault(group, [])
            if limit is None or len(members) < limit:
                members.append(row.trial_id)
        found |= here
    return [trial_id for best in found.values() for trial_id in best]


def _ranked_as_expected(
    connection: Connection, study_id: int, direction: Direction, groups: Mapping[int, Group], *, limit: int | None
) -> list[int]:
    from hpo.results.expected import expectations  # which imports SciPy

    found = expectations(connection, study_id, direction)
    if not found and connection.execute(ranked_trials(study_id, direction).limit(1)).first() is not None:
        raise SpecError(
            "expected: nothing tells how noisy the trials are: they have fewer than five epochs, and neither folds nor "
            "repeats"
        )
    best: dict[Group, list[int]] = {}
    for trial_id in sorted(found, key=lambda key: direction.cost(found[key].value)):
        group = groups.get(trial_id)
        if group is None:
            continue
        members = best.setdefault(group, [])
        if limit is None or len(members) < limit:
            members.append(trial_id)
    return [trial_id for members in best.values() for trial_id in members]


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
