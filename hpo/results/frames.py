"""Columns as a frame of pandas or Polars, and the curves of trials as columns of a long one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from sqlalchemy import Connection, Select, exists, select

from hpo.errors import SpecError, nearest
from hpo.results.query import Table
from hpo.space.values import label_of_value
from hpo.store.tables import hpo_epochs, hpo_studies, trial_intermediate_values, trials
from hpo.study.length import Unit

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Engine = Literal["pandas", "polars"]
ENGINES: tuple[str, ...] = get_args(Engine)
MOST_BY_ID = 1_000  # trials that are named in a statement; of more, all of the study are read
OBJECTIVE = "value"  # the metric of a trial of another program


def frame_of(table: Table, engine: Engine) -> pd.DataFrame | pl.DataFrame:
    """The columns as a frame.

    Raises:
        SpecError: there is no such engine, or Polars is not installed.
    """
    if engine == "pandas":
        import pandas as pd

        return pd.DataFrame(dict(table))
    if engine != "polars":
        hint = nearest(str(engine), ENGINES) or "."
        raise SpecError(f"engine: there is no '{engine}'{hint} There are {', '.join(ENGINES)}")
    try:
        import polars as pl
    except ImportError:
        raise SpecError(
            "engine: Polars is not installed: pip install 'hpo-service[polars]' does it; engine='pandas' needs nothing"
        ) from None
    return pl.DataFrame({name: _of_one_type(values) for name, values in table.items()})


def read_curves(
    connection: Connection, study_id: int, chosen: Sequence[int] | None, *, metrics: str | Sequence[str] | None
) -> Table:
    """(number, epoch or step, metric, value) of each metric of each epoch, by trial and epoch.

    Of a trial of another program, whose metrics are not known, the metric is called `value`.

    Args:
        chosen: the store's ids of the trials; all without.
        metrics: of these metrics only.

    Raises:
        SpecError: no epoch has such a metric.
    """
    is_chosen = None if chosen is None else set(chosen)
    wanted = None if metrics is None else set(metrics.split(",") if isinstance(metrics, str) else metrics)
    wanted = wanted if wanted is None else {name.strip() for name in wanted}
    cells: list[tuple[int, int, str, float | None]] = []
    known: set[str] = set()
    epochs, steps = _epochs(study_id), _steps_of_others(study_id)
    if is_chosen is not None and len(is_chosen) <= MOST_BY_ID:
        epochs, steps = (one.where(trials.c.trial_id.in_(is_chosen)) for one in (epochs, steps))
    for trial_id, number, epoch, text in connection.execute(epochs):
        if is_chosen is None or trial_id in is_chosen:
            values = json.loads(text)
            known |= values.keys()
            cells += [
                (number, epoch, name, value) for name, value in values.items() if wanted is None or name in wanted
            ]
    for trial_id, number, step, value in connection.execute(steps):
        if is_chosen is None or trial_id in is_chosen:
            known.add(OBJECTIVE)
            cells += [(number, step, OBJECTIVE, value)] if wanted is None or OBJECTIVE in wanted else []
    if known and (unknown := sorted((wanted or set()) - known)):
        hint = nearest(unknown[0], known) or "."
        raise SpecError(f"metrics: no epoch has '{unknown[0]}'{hint} There are {', '.join(sorted(known))}")
    cells.sort(key=lambda cell: cell[:2])  # the metrics of an epoch stay as they were logged
    columns = map(list, zip(*cells, strict=True)) if cells else ([], [], [], [])
    return dict(zip(("number", _unit(connection, study_id).value, "metric", "value"), columns, strict=True))


def _epochs(study_id: int) -> Select[Any]:
    """Rows of (trial_id, number, epoch, metrics as JSON)."""
    epochs = select(trials.c.trial_id, trials.c.number, hpo_epochs.c.epoch, hpo_epochs.c.metrics)
    return epochs.join(trials, trials.c.trial_id == hpo_epochs.c.trial_id).where(trials.c.study_id == study_id)


def _steps_of_others(study_id: int) -> Select[Any]:
    """Rows of (trial_id, number, step, value) of the trials whose epochs are not in our tables."""
    curve = trial_intermediate_values.c
    is_ours = exists().where(hpo_epochs.c.trial_id == trials.c.trial_id)
    steps = select(trials.c.trial_id, trials.c.number, curve.step, curve.intermediate_value)
    joined = steps.join(trials, trials.c.trial_id == curve.trial_id)
    return joined.where(trials.c.study_id == study_id, ~is_ours)


def _unit(connection: Connection, study_id: int) -> Unit:
    """What a study's curves are counted in."""
    text = connection.scalar(select(hpo_studies.c.spec).where(hpo_studies.c.study_id == study_id))
    is_in_steps = text is not None and json.loads(text)["spec"].get("steps") is not None
    return Unit.STEP if is_in_steps else Unit.EPOCH


def _of_one_type(values: Sequence[Any]) -> list[Any]:
    """As Polars takes them: whole numbers become floats beside floats, and what is of several kinds becomes text."""
    types = set(map(type, values)) - {type(None)}
    if types == {int, float}:
        return [None if value is None else float(value) for value in values]
    if len(types) <= 1 and not types & {list, dict}:
        return list(values)
    if all(issubclass(kind, str) for kind in types):
        return [None if value is None else str(value) for value in values]
    return [None if value is None else str(label_of_value(value)) for value in values]
