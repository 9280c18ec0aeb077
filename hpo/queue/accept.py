"""Accepting that a study goes on with other data or other code: its earlier trials are marked, and compared no more."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, exists, insert, literal, select, update

from hpo.queue.idle import STOPPED, end_trial, idle_trials
from hpo.queue.trained import last_attempts, refuse_while_trained
from hpo.store.clock import db_now
from hpo.store.tables import (
    hpo_studies,
    hpo_trials,
    trial_intermediate_values,
    trial_system_attributes,
    trial_user_attributes,
    trials,
)
from hpo.study.constraints import BEFORE_CHANGE
from hpo.study.fingerprints import in_a_line
from hpo.study.states import OptunaState

_NOTE = "before_change"  # user attribute, which the dashboard shows


def accept_changes(connection: Connection, study_id: int, name: str, changes: Sequence[str]) -> int:
    """Mark all trials that have begun as trained before a change; how many were not marked yet.

    Those that have not ended are ended as pruned: one half of their epochs would be trained on other data. This is
    within a transaction that has locked the study.

    Args:
        changes: what differs, in words.

    Raises:
        StoreError: workers train the study.
    """
    refuse_while_trained(last_attempts(connection, study_id), name, advice=f"'hpo pause {name}' first")
    words = in_a_line(changes)
    for row in connection.execute(idle_trials(study_id)).all():
        has_curve = connection.scalar(select(exists().where(trial_intermediate_values.c.trial_id == row.trial_id)))
        state = OptunaState.PRUNED if has_curve else OptunaState.FAIL
        end_trial(connection, row.trial_id, state, cause=f"{STOPPED}: {words}")
    begun = select(trials.c.trial_id).where(trials.c.study_id == study_id, trials.c.state != OptunaState.WAITING)
    has_row = exists().where(hpo_trials.c.trial_id == trials.c.trial_id)
    connection.execute(insert(hpo_trials).from_select(["trial_id"], begun.where(~has_row)))  # another program's trials
    unmarked = begun.where(
        exists().where(hpo_trials.c.trial_id == trials.c.trial_id, hpo_trials.c.before_change.is_(None))
    )
    marked = connection.scalars(unmarked).all()
    for table, key, value in (
        (trial_user_attributes, _NOTE, words),
        (trial_system_attributes, BEFORE_CHANGE, 1.0),
    ):
        # As a query, since a statement takes a limited number of values.
        chosen = unmarked.add_columns(literal(key), literal(json.dumps(value)))
        connection.execute(insert(table).from_select(["trial_id", "key", "value_json"], chosen))
    connection.execute(update(hpo_trials).where(hpo_trials.c.trial_id.in_(unmarked)).values(before_change=words))
    connection.execute(update(hpo_studies).where(hpo_studies.c.study_id == study_id).values(change_accepted=db_now()))
    return len(marked)
