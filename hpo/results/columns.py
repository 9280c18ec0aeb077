"""The columns of a study's trials by name, each read only where it is asked for: a store may have thousands of trials.

A name is looked up among the columns of `hpo trials`, the parameters, the arguments of the model and the data, the
metrics and the user attributes, in this order; `params_NAME`, `config_NAME`, `metrics_NAME` and `attributes_NAME` say
which of them is meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select

from hpo.errors import SpecError, nearest
from hpo.results.column_values import TrialValues
from hpo.results.condition import Column
from hpo.results.params import params_of
from hpo.store.tables import hpo_studies, hpo_trials, trial_params, trial_user_attributes, trials
from hpo.study.states import Direction, TrialState

FIRST = ("number", "state", "value", "best_epoch", "epochs", "max_epochs", "seconds", "attempts")
LAST = ("cause", "device", "worker", "checkpoint", "started", "ended")
OWN = (*FIRST, *LAST, "error", "feasible", "expected", "expected_low", "expected_high")
TIMES = ("started", "ended")


class Origin(StrEnum):
    """Where a column's values come from; also what a name begins with that says so."""

    TRIAL = "trial"
    PARAMETER = "params"
    CONFIG = "config"
    METRIC = "metrics"
    ATTRIBUTE = "attributes"


@dataclass(frozen=True)
class Found:
    """A column that a study has, under its own name."""

    origin: Origin
    name: str

    @property
    def label(self) -> str:
        """What says without doubt which column it is."""
        return self.name if self.origin is Origin.TRIAL else f"{self.origin}_{self.name}"


class TrialColumns:
    """The columns of all trials of one study, within a transaction of the caller."""

    def __init__(self, connection: Connection, study_id: int, direction: Direction) -> None:
        self._connection = connection
        self._study_id = study_id
        self._read = TrialValues(connection, study_id, direction)

    @property
    def trial_ids(self) -> Sequence[int]:
        """By number, which is the order of all values."""
        return self._read.trial_ids

    def find(self, name: str, *, option: str) -> Found:
        """The column of this name.

        Raises:
            SpecError: there is none; names the nearest, and all.
        """
        prefix, _, rest = name.partition("_")
        if prefix in _SEARCHED and rest in self._names(Origin(prefix)):
            return Found(Origin(prefix), rest)
        if name not in OWN and name in self._searched:  # without reading the names that trials have
            return Found(Origin.PARAMETER, name)
        for origin in Origin:
            if name in self._names(origin):
                return Found(origin, name)
        raise SpecError(f"{option}: {self._unknown(name)}")

    def default(self) -> list[Found]:
        """Those of a table that shows everything but the configuration, the metrics and the attributes."""
        searched = [Found(Origin.PARAMETER, name) for name in self._names(Origin.PARAMETER)]
        first, last = ([Found(Origin.TRIAL, name) for name in names] for names in (FIRST, LAST))
        return [*first, *searched, *last]

    def read(self, wanted: Iterable[Found]) -> dict[Found, Column]:
        """These columns with the values of all trials, each kind of them read by one statement."""
        chosen = list(dict.fromkeys(wanted))
        found: dict[Found, Column] = {}
        for origin in Origin:
            names = [one.name for one in chosen if one.origin == origin]
            for name, values in self._values(origin, names).items():
                is_time = origin == Origin.TRIAL and name in TIMES
                words = tuple(TrialState) if (origin, name) == (Origin.TRIAL, "state") else ()
                column = [values.get(trial_id) for trial_id in self.trial_ids]
                found[Found(origin, name)] = Column(column, words, is_time)
        return found

    def _values(self, origin: Origin, names: Sequence[str]) -> dict[str, Mapping[int, Any]]:
        """By name, the values by trial_id."""
        if not names:
            return {}
        if origin == Origin.TRIAL:
            return {name: getattr(self._read, name) for name in names}
        by_trial: Mapping[int, Mapping[str, Any]]
        if origin == Origin.PARAMETER:
            by_trial = params_of(self._connection, trials.c.study_id == self._study_id, names=names)
        elif origin == Origin.CONFIG:
            by_trial = {trial_id: _arguments(text) for trial_id, text in self._read.configs.items()}
        else:
            by_trial = self._read.metrics if origin == Origin.METRIC else self._read.attributes(names)
        return {
            name: {trial_id: values[name] for trial_id, values in by_trial.items() if name in values} for name in names
        }

    # ---- names

    def _names(self, origin: Origin) -> Mapping[str, None]:
        """A mapping, which keeps their order."""
        match origin:
            case Origin.TRIAL:
                return dict.fromkeys(OWN)
            case Origin.PARAMETER:
                return self._parameter_names
            case Origin.CONFIG:
                return self._config_names
            case Origin.METRIC:
                return self._metric_names
            case Origin.ATTRIBUTE:
                return self._attribute_names

    @cached_property
    def _searched(self) -> Sequence[str]:
        """The parameters that the study searches; none of a study of another program."""
        space = self._connection.scalar(select(hpo_studies.c.space).where(hpo_studies.c.study_id == self._study_id))
        return [parameter["name"] for parameter in json.loads(space)] if space else []

    @cached_property
    def _parameter_names(self) -> dict[str, None]:
        """Those that the study searches, and those of trials that another program has added."""
        stored = self._read.of_study(select(trial_params.c.param_name).distinct(), trial_params.c.trial_id)
        return dict.fromkeys([*self._searched, *sorted(row.param_name for row in stored)])

    @cached_property
    def _config_names(self) -> dict[str, None]:
        """Of the newest trial that has begun: those of all trials of a study are the same."""
        begun = select(hpo_trials.c.config).where(hpo_trials.c.config.is_not(None))
        rows = self._read.of_study(begun.order_by(trials.c.number.desc()).limit(1), hpo_trials.c.trial_id)
        return dict.fromkeys(_arguments(rows[0].config)) if rows else {}

    @cached_property
    def _metric_names(self) -> dict[str, None]:
        return dict.fromkeys(name for metrics in self._read.metrics.values() for name in metrics)

    @cached_property
    def _attribute_names(self) -> dict[str, None]:
        keys = select(trial_user_attributes.c.key).distinct().order_by(trial_user_attributes.c.key)
        return dict.fromkeys(row.key for row in self._read.of_study(keys, trial_user_attributes.c.trial_id))

    def _unknown(self, name: str) -> str:
        names = {origin: list(self._names(origin)) for origin in Origin}
        hint = nearest(name, [known for origin in Origin for known in names[origin]]) or "."
        listed = "; ".join(f"{_IN_WORDS[origin]}: {', '.join(names[origin])}" for origin in Origin if names[origin])
        return f"there is no column '{name}'{hint} {listed}"


_IN_WORDS = {
    Origin.TRIAL: "Columns",
    Origin.PARAMETER: "parameters",
    Origin.CONFIG: "arguments",
    Origin.METRIC: "metrics",
    Origin.ATTRIBUTE: "attributes",
}
_SEARCHED = tuple(origin.value for origin in Origin if origin != Origin.TRIAL)


def _arguments(config: str) -> dict[str, Any]:
    """The arguments of the model and the data, and what else is plain, such as the seed; of equal names the first."""
    plain = json.loads(config)
    model, data = ({k: v for k, v in plain.get(owner, {}).items() if k != "class"} for owner in ("model", "data"))
    rest = {name: value for name, value in plain.items() if not isinstance(value, dict | list)}
    return rest | data | model
