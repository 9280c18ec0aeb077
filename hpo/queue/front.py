"""Trials of several objectives: their values as stored, and how they are ranked.

A trial that has ended has its values in Optuna's table. One that has not, and a pruned one, whose stored values are
those of its last epoch, has a curve of its leading objective there, and the others among its epochs' metrics.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from hpo.queue.conditions import is_before_change, is_infeasible
from hpo.store.json_number import json_number
from hpo.store.tables import (
    hpo_epochs,
    hpo_studies,
    study_directions,
    study_system_attributes,
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.study.objectives import Costs, Objectives, dominates, front_of, ranks
from hpo.study.states import Direction, OptunaState

METRIC_NAMES = "study:metric_names"  # Optuna's attribute, which its plots and optuna-dashboard read


class RankedTrial(NamedTuple):
    """A trial with its values.

    Attributes:
        value: the first of them.
        ended: UTC; None while it has not.
    """

    trial_id: int
    number: int
    value: float
    values: tuple[float, ...]
    datetime_complete: datetime | None


def objectives_of(connection: Connection, study_id: int) -> Objectives:
    """The objectives of a study."""
    found = _objectives(connection, study_id)[study_id]
    if not found.are_several:
        return found
    spec = connection.scalar(select(hpo_studies.c.spec).where(hpo_studies.c.study_id == study_id))
    plain = {} if spec is None else json.loads(spec)["spec"]
    target = plain.get("budget", {}).get("target")
    if not isinstance(target, dict):
        return found
    return replace(found, reference=tuple(target["reference"][metric] for metric in found.metrics))


def all_objectives(connection: Connection) -> dict[int, Objectives]:
    """The objectives of every study of the store, without a reference."""
    return _objectives(connection, None)


def _objectives(connection: Connection, study_id: int | None) -> dict[int, Objectives]:
    of_direction, of_attribute = study_directions.c, study_system_attributes.c
    words = select(of_direction.study_id, of_direction.direction).order_by(of_direction.objective)
    named = select(of_attribute.study_id, of_attribute.value_json).where(of_attribute.key == METRIC_NAMES)
    if study_id is not None:
        words, named = words.where(of_direction.study_id == study_id), named.where(of_attribute.study_id == study_id)
    directions: dict[int, tuple[Direction, ...]] = defaultdict(tuple)
    for its, word in connection.execute(words):
        directions[its] += (Direction.of_optuna(word),)
    names = {its: json.loads(text) for its, text in connection.execute(named)}
    return {its: Objectives(found, _names(names.get(its), len(found))) for its, found in directions.items()}


def _names(found: Any, number: int) -> tuple[str, ...]:
    """Of the metrics; another program may have given none, or others than there are objectives."""
    return tuple(map(str, found)) if isinstance(found, list) and len(found) == number else ()


def complete_points(connection: Connection, study_id: int, objectives: Objectives) -> list[RankedTrial]:
    """The complete trials that have a finite value of each objective and violate no constraint, in the order of their
    ends."""
    rows = connection.execute(
        select(trials.c.trial_id, trials.c.number, trials.c.datetime_complete, trial_values.c.value)
        .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == OptunaState.COMPLETE,
            ~is_before_change(),
            ~is_infeasible(),
            trial_values.c.value_type == "FINITE",
        )
        .order_by(trials.c.datetime_complete, trials.c.number, trial_values.c.objective)
    )
    by_trial: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        by_trial[row.trial_id, row.number, row.datetime_complete].append(row.value)
    number = len(objectives.directions)
    return [
        RankedTrial(trial_id, of, values[0], tuple(values), ended)
        for (trial_id, of, ended), values in by_trial.items()
        if len(values) == number
    ]


def ranked_points(found: Sequence[RankedTrial], objectives: Objectives) -> list[RankedTrial]:
    """By non-domination rank, and within a front by the leading objective."""
    costs = [objectives.costs(trial.values) for trial in found]
    order = sorted(zip(ranks(costs), costs, found, strict=True), key=lambda one: (*one[:2], one[2].number))
    return [trial for _, _, trial in order]


def front_points(found: Sequence[RankedTrial], objectives: Objectives) -> list[RankedTrial]:
    """Those that no other one beats in all objectives, by the leading one."""
    by_number = {trial.number: trial for trial in found}
    costs = {trial.number: objectives.costs(trial.values) for trial in found}
    return [by_number[number] for number in front_of(costs)]


def last_improvement(found: Sequence[RankedTrial], objectives: Objectives) -> RankedTrial | None:
    """Of these trials in the order of their ends, the last one that was on the front when it ended.

    It has enlarged the volume that the front dominates. One with the values of an earlier one has not.
    """
    front: list[Costs] = []
    last = None
    for trial in found:
        costs = objectives.costs(trial.values)
        if not any(other == costs or dominates(other, costs) for other in front):
            front = [other for other in front if not dominates(costs, other)] + [costs]
            last = trial
    return last


def values_by_epoch(
    connection: Connection, chosen: Any, objectives: Objectives
) -> Mapping[int, Mapping[int, tuple[float, ...]]]:
    """By trial_id and epoch, the values of all objectives, where each was logged and is finite.

    Args:
        chosen: a query for trial_ids.
    """
    curve = trial_intermediate_values.c
    further = [
        json_number(hpo_epochs.c.metrics, name).label(f"of_{place}") for place, name in enumerate(objectives.further)
    ]
    rows = connection.execute(
        select(curve.trial_id, curve.step, curve.intermediate_value, *further)
        .join(hpo_epochs, (hpo_epochs.c.trial_id == curve.trial_id) & (hpo_epochs.c.epoch == curve.step))
        .where(curve.trial_id.in_(chosen), curve.intermediate_value_type == "FINITE")
        .order_by(curve.trial_id, curve.step)
    )
    found: dict[int, dict[int, tuple[float, ...]]] = defaultdict(dict)
    for trial_id, step, *values in rows:
        if all(value is not None and math.isfinite(value) for value in values):
            found[trial_id][step] = tuple(map(float, values))
    return found


def of_best_epoch(curve: Mapping[int, tuple[float, ...]], objectives: Objectives) -> tuple[float, ...]:
    """The values at the best epoch by the leading objective, the earliest of equal ones; empty without an epoch."""
    epoch = min(curve, key=lambda step: (objectives.first.cost(curve[step][0]), step), default=None)
    return () if epoch is None else curve[epoch]


def leading_points(connection: Connection, study_id: int, objectives: Objectives) -> list[RankedTrial]:
    """The running, paused, idle and pruned trials with the values of their best epochs so far."""
    mine = select(trials.c.trial_id).where(
        trials.c.study_id == study_id,
        trials.c.state.in_((OptunaState.RUNNING, OptunaState.PRUNED)),
        ~is_before_change(),
        ~is_infeasible(),
    )
    numbers = connection.execute(
        select(trials.c.trial_id, trials.c.number, trials.c.datetime_complete).where(trials.c.trial_id.in_(mine))
    ).all()
    curves = values_by_epoch(connection, mine, objectives)
    found = []
    for row in numbers:
        if values := of_best_epoch(curves.get(row.trial_id, {}), objectives):
            found.append(RankedTrial(row.trial_id, row.number, values[0], values, row.datetime_complete))
    return found


def number_on_front(connection: Connection, study_id: int, objectives: Objectives) -> int:
    """How many complete trials are on the front."""
    return len(front_points(complete_points(connection, study_id, objectives), objectives))


def last_values(connection: Connection, trial_id: int, study_id: int) -> tuple[float, ...]:
    """The values after the last epoch that a trial of several objectives has reported."""
    objectives = objectives_of(connection, study_id)
    curve = values_by_epoch(connection, select(trials.c.trial_id).where(trials.c.trial_id == trial_id), objectives)
    return curve[trial_id][max(curve[trial_id])] if curve.get(trial_id) else ()


def has_several_objectives(connection: Connection, study_id: int) -> bool:
    """Whether the study has more than one."""
    counted = select(func.count()).where(study_directions.c.study_id == study_id)
    return (connection.scalar(counted) or 0) > 1
