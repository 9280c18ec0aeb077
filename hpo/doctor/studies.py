"""Studies as this version reads them: their files, their spaces, and points outside of these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, select

from hpo.doctor.finding import CheckContext, Finding
from hpo.printable import counted
from hpo.space import Choice, SearchSpace
from hpo.store.tables import hpo_studies, hpo_trials, studies, trial_params, trial_system_attributes, trials
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import OptunaState


def check_studies(context: CheckContext) -> Iterator[Finding]:
    """Each study of ours: readable, and its parameters and waiting points inside its space."""
    with context.store.read() as connection:
        rows = connection.execute(
            select(studies.c.study_id, studies.c.study_name, hpo_studies.c.spec, hpo_studies.c.space)
            .join(hpo_studies, hpo_studies.c.study_id == studies.c.study_id)
            .order_by(studies.c.study_id)
        ).all()
        is_well = True
        for row in rows:
            try:
                space = ResolvedStudy.from_json(row.spec, row.space).space
            except Exception as error:  # the row may contain anything
                first = str(error).splitlines()[0] if str(error) else type(error).__name__
                message = f"its study file, as stored, cannot be read by this version: {first}"
                is_well = False
                remedy = "use the version that wrote it, or restore a backup"
                yield Finding("problem", "studies", message, row.study_name, remedy)
                continue
            for finding in (
                *_choices(connection, row.study_id, row.study_name, space),
                *_points(connection, row.study_id, row.study_name, space),
            ):
                is_well = False
                yield finding
    if is_well:
        yield Finding("ok", "studies", f"{counted(len(rows), 'study')} of hpo-service, all readable")


def _choices(connection: Connection, study_id: int, name: str, space: SearchSpace) -> Iterator[Finding]:
    found = connection.execute(
        select(trial_params.c.param_name, trial_params.c.distribution_json)
        .join(trials, trials.c.trial_id == trial_params.c.trial_id)
        .where(trials.c.study_id == study_id)
        .distinct()
        .order_by(trial_params.c.param_name)
    )
    for parameter, distribution in found:
        stored = None
        with suppress(ValueError, KeyError, TypeError):  # reported with the rows
            stored = json.loads(distribution)["attributes"].get("choices")
        wanted = space[parameter].range if parameter in space else None
        if stored is not None and isinstance(wanted, Choice) and list(wanted.labels) != stored:
            message = f"trials chose {parameter} from {stored}, but the study searches {list(wanted.labels)}"
            remedy = "begin another study with --name: samplers refuse this one"
            yield Finding("problem", "studies", message, name, remedy)


def _points(connection: Connection, study_id: int, name: str, space: SearchSpace) -> Iterator[Finding]:
    """Enqueued points, and those of trials that a worker may continue."""
    enqueued = connection.execute(
        select(trials.c.number, trial_system_attributes.c.value_json)
        .join(trial_system_attributes, trial_system_attributes.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == OptunaState.WAITING)
        .where(trial_system_attributes.c.key == "fixed_params")
        .order_by(trials.c.number)
    )
    for number, content in enqueued:
        yield from _outside(name, f"waiting trial {number} has a point that", content, space, partial=True)
    begun = connection.execute(
        select(trials.c.number, hpo_trials.c.config)
        .join(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == OptunaState.RUNNING, hpo_trials.c.config.is_not(None))
        .order_by(trials.c.number)
    )
    for number, content in begun:
        yield from _outside(name, f"running trial {number} has a point that", content, space, key="params")


def _outside(
    study: str, who: str, content: str, space: SearchSpace, *, key: str | None = None, partial: bool = False
) -> Iterator[Finding]:
    point: Any = None
    with suppress(ValueError, KeyError, TypeError):  # reported with the rows
        point = json.loads(content) if key is None else json.loads(content)[key]
    if not isinstance(point, Mapping):
        return
    problems = space.problems(point, partial=partial)
    if problems:
        message = f"{who} the study does not search: {'; '.join(problems)}"
        remedy = "it will fail when it is claimed; enqueue a point within the space"
        yield Finding("problem", "studies", message, study, remedy)
