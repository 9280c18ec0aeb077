"""Reads the values of trials' parameters."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, true

from hpo.space import Choice, SearchSpace
from hpo.store.tables import hpo_studies, trial_params, trials


def params_of(
    connection: Connection, wanted: ColumnElement[bool], names: Sequence[str] | None = None
) -> dict[int, dict[str, Any]]:
    """Each trial's parameters' values by name, by the store's id; lists and mappings are stored by their labels.

    Args:
        wanted: a condition on `trials`.
        names: of these parameters only.
    """
    rows = connection.execute(
        select(
            trial_params.c.trial_id,
            trials.c.study_id,
            trial_params.c.param_name,
            trial_params.c.param_value,
            trial_params.c.distribution_json,
        )
        .join(trials, trials.c.trial_id == trial_params.c.trial_id)
        .where(wanted, true() if names is None else trial_params.c.param_name.in_(names))
    ).all()
    distributions: dict[str, Any] = {}  # by their texts, which are the same for thousands of trials
    chosen: dict[tuple[int, str, str], Any] = {}  # by study, name and label, which are the same as often
    stored: dict[int, str] | None = None
    spaces: dict[int, SearchSpace] = {}
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, study_id, name, number, text in rows:
        distribution = distributions.get(text)
        if distribution is None:
            distribution = distributions[text] = json.loads(text)
        value = _param(number, distribution)
        if isinstance(value, str):
            key = study_id, name, value
            if key not in chosen:
                if stored is None:
                    stored = _spaces(connection, wanted)
                if study_id not in spaces:  # another program's study has none
                    text = stored.get(study_id)
                    spaces[study_id] = SearchSpace.from_json(json.loads(text)) if text else SearchSpace()
                chosen[key] = _of_label(value, name, spaces[study_id])
            value = chosen[key]
        found[trial_id][name] = value
    return found


def _spaces(connection: Connection, wanted: ColumnElement[bool]) -> dict[int, str]:
    """The search spaces of the trials' studies, as JSON."""
    chosen = hpo_studies.c.study_id.in_(select(trials.c.study_id).where(wanted))
    rows = connection.execute(select(hpo_studies.c.study_id, hpo_studies.c.space).where(chosen))
    return {study_id: space for study_id, space in rows}


def _of_label(value: str, name: str, space: SearchSpace) -> Any:
    range_ = space[name].range if name in space else None
    return range_.take(value) if isinstance(range_, Choice) and value in range_.labels else value


def _param(value: float, distribution: Mapping[str, Any]) -> Any:
    """The parameter's own value: Optuna stores choices by their index, and integers as floats."""
    if distribution["name"] == "CategoricalDistribution":
        return distribution["attributes"]["choices"][int(value)]
    return int(value) if distribution["name"].startswith("Int") else value
