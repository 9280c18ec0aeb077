"""How long a study is expected to take from now, as anybody sees it who reaches the store.

`hpo.worker.time_left` says the same of a worker's own study, of which it has the trials in memory.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, or_, select

from hpo.queue.progress import Progress
from hpo.search.forecast import Begun, SearchSoFar, Stage, rest_of_search
from hpo.store.tables import hpo_attempts, hpo_epochs, hpo_studies, hpo_trials, trial_intermediate_values, trials
from hpo.study.limits import UNLIMITED
from hpo.study.objectives import Objectives
from hpo.study.states import AttemptEnd, OptunaState, Request

# The later trials tell what is to come, and those that have not ended; older ones are not read.
MOST_TRIALS = 1000


def time_left(
    connection: Connection, study_id: int, progress: Progress, *, slots: float, devices: float
) -> tuple[float, float] | None:
    """Seconds, at least and at most: eight of ten ways in which the study may go on lie between them.

    Args:
        slots: trials of it that are trained at a time.
        devices: that they use, together.

    Returns: None where no end is in sight, no epoch has been trained yet, or nothing trains it.
    """
    if progress.is_over or slots <= 0:
        return None
    of_trials = _of_trials(connection, study_id, progress, slots=slots)
    known = [(seconds, seconds) for seconds in progress.seconds_to_limits(devices)]
    if of_trials is not None:
        known.append(of_trials)
    if not known:
        return None
    least, most = (max(0.0, min(ends)) for ends in zip(*known, strict=True))
    return least, most


def _of_trials(
    connection: Connection, study_id: int, progress: Progress, *, slots: float
) -> tuple[float, float] | None:
    """Until it has all its trials; None where their number has no limit, and before an epoch has been trained."""
    counts = progress.counts
    if counts.target == UNLIMITED:
        return None
    which = {"of_study": study_id, "first": counts.next_number - MOST_TRIALS}
    rows = connection.execute(_begun(), which).all()
    paces = {row.number: row.seconds / row.trained for row in rows if row.seconds and row.trained and row.trained > 0}
    text = connection.scalar(select(hpo_studies.c.spec).where(hpo_studies.c.study_id == study_id))
    if not paces or text is None:
        return None
    # Imported here: verbs that only read are spared pydantic where there is nothing to forecast.
    from hpo.search.halving import ETA, FIRST_RUNG, make_rungs
    from hpo.search.usual_ends import startup_trials, usual_shares
    from hpo.study.spec import StudySpec

    spec, halving = StudySpec.model_validate(json.loads(text)["spec"]), None
    # of several objectives, the trials at a rung are ordered by the leading one
    rungs = make_rungs(spec, objectives=Objectives(spec.objectives.directions[:1], spec.objectives.metrics[:1]))
    if rungs is not None and rungs.promotes:
        for number, curve in _curves_of(connection, which).items():
            rungs.take(number, curve)
        halving = rungs.halving(spec.max_epochs)
    begun = [Begun(row.number, row.reached or 0, _stage(row, is_promoting=halving is not None)) for row in rows]
    rest = rest_of_search(
        SearchSoFar(
            begun,
            trials=len(begun) + max(0, counts.target - counts.claimed),
            epochs=spec.max_epochs,
            slots=max(1, round(slots)),
            halving=halving,
            unjudged=startup_trials(spec),
            shares=usual_shares(spec, least=FIRST_RUNG * spec.interval, eta=ETA),
            interval=spec.interval,
            paces=paces,
        )
    )
    return rest.least, rest.most


def _curves_of(connection: Connection, which: Mapping[str, int]) -> dict[int, dict[int, tuple[float]]]:
    """By number, the leading objective of the trials after each epoch."""
    found: dict[int, dict[int, tuple[float]]] = defaultdict(dict)
    for number, step, value in connection.execute(_curves(), which):
        found[number][step] = (value,)
    return found


def _stage(row: Any, *, is_promoting: bool) -> Stage:
    if row.state == OptunaState.RUNNING:
        return Stage.AT_RUNG if row.request == Request.AWAIT_PROMOTION else Stage.OPEN
    return Stage.BEHIND if is_promoting and row.state == OptunaState.PRUNED else Stage.ENDED


@cache
def _begun() -> Select[Any]:
    """The later trials and those that have not ended, by number: how far each has come, and how long that took."""
    steps, attempts = trial_intermediate_values.c, hpo_attempts.c
    latest = hpo_epochs.alias("latest")
    was_refused = func.coalesce(hpo_trials.c.cause, "").startswith(f"{AttemptEnd.REFUSED}:")
    last = select(func.max(latest.c.epoch)).where(latest.c.trial_id == trials.c.trial_id).scalar_subquery()
    return (
        select(
            trials.c.number,
            trials.c.state,
            hpo_trials.c.request,
            select(func.max(steps.step)).where(steps.trial_id == trials.c.trial_id).scalar_subquery().label("reached"),
            hpo_epochs.c.seconds,
            (hpo_epochs.c.epoch - func.coalesce(attempts.from_epoch, 0)).label("trained"),
        )
        .select_from(trials)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .outerjoin(hpo_epochs, and_(hpo_epochs.c.trial_id == trials.c.trial_id, hpo_epochs.c.epoch == last))
        .outerjoin(hpo_attempts, and_(attempts.trial_id == trials.c.trial_id, attempts.number == hpo_epochs.c.attempt))
        .where(_is_wanted(), trials.c.state != OptunaState.WAITING, ~was_refused)
        .order_by(trials.c.number)
    )


@cache
def _curves() -> Select[Any]:
    steps = trial_intermediate_values.c
    return (
        select(trials.c.number, steps.step, steps.intermediate_value)
        .join(trials, trials.c.trial_id == steps.trial_id)
        .where(_is_wanted(), steps.intermediate_value_type == "FINITE")
        .order_by(trials.c.number, steps.step)
    )


def _is_wanted() -> ColumnElement[bool]:
    is_late = or_(trials.c.number >= bindparam("first"), trials.c.state == OptunaState.RUNNING)
    return and_(trials.c.study_id == bindparam("of_study"), is_late)
