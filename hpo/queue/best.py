"""The best trials of a study: the one query that ranks them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select

from hpo.store.tables import trial_values, trials
from hpo.study.states import Direction, OptunaState


def ranked_trials(study_id: int, direction: Direction) -> Select[Any]:
    """The study's complete trials, the best first; of equal ones the earlier.

    Rows of (trial_id, number, value, datetime_complete). Infinite values, which other programs may store, are left out.
    """
    return (
        select(trials.c.trial_id, trials.c.number, trial_values.c.value, trials.c.datetime_complete)
        .join(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == OptunaState.COMPLETE,
            trial_values.c.objective == 0,
            trial_values.c.value_type == "FINITE",
        )
        .order_by(direction.order(trial_values.c.value), trials.c.number)
    )
