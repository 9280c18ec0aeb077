"""Conditions on trials, which all rankings share: from before a change, infeasible, refused."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists

from hpo.store.tables import hpo_trials, trial_system_attributes, trials
from hpo.study.constraints import ATTRIBUTE
from hpo.study.states import AttemptEnd, OptunaState


def is_before_change() -> ColumnElement[bool]:
    """Whether the trial was trained on other data or with other code than the study's trials are now."""
    return exists().where(hpo_trials.c.trial_id == trials.c.trial_id, hpo_trials.c.before_change.is_not(None))


def is_infeasible() -> ColumnElement[bool]:
    """Whether the trial violates a constraint, of ours or of another program: an attribute of Optuna's is above 0."""
    attributes = trial_system_attributes.c
    # A number in JSON is compared as text: a cast of what other attributes hold is an error of PostgreSQL.
    is_above_0 = ~attributes.value_json.startswith("-") & attributes.value_json.not_in(("0.0", "0"))
    is_constraint = attributes.key.startswith(ATTRIBUTE)
    return exists().where(attributes.trial_id == trials.c.trial_id, is_constraint, is_above_0)


def was_refused() -> ColumnElement[bool]:
    """Whether the trial was refused before it trained, since it violates a constraint."""
    because = hpo_trials.c.cause.startswith(f"{AttemptEnd.REFUSED}:")
    is_of_cause = exists().where(hpo_trials.c.trial_id == trials.c.trial_id, because)
    return and_(trials.c.state == OptunaState.FAIL, is_of_cause)
