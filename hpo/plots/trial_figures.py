"""Figures of single trials: the history of their values, and their learning curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hpo.plots.drawing import BLUE, GREEN, ORANGE, as_text, empty, figure, of_all, some
from hpo.queue.progress import find_study
from hpo.results.frames import OBJECTIVE, read_curves
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store
from hpo.store.tables import trials
from hpo.study.states import Direction, TrialState

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_DOTS = 2_000  # trials of each kind
MOST_CURVES = 150  # trials of each kind
COMPLETE, UNFINISHED = TrialState.COMPLETE.value, "pruned, or not at its end"

Point = tuple[TrialRecord, float]


def history(study: Study, place: int) -> go.Figure:
    """The value of each trial in one of its objectives, and the best so far."""
    import plotly.graph_objects as go

    name = as_text((study.objectives.metrics or (OBJECTIVE,))[place])
    title, direction = f"{as_text(study.name)}: history", study.directions[place]
    records = [one for one in study.trials(has_curves=False) if one.before_change is None]
    found = [(one, value) for one in records if (value := _value(one, place)) is not None]
    if not found:
        return empty(title, "no trial has a value yet")
    kinds = {
        COMPLETE: ([p for p in found if p[0].state == TrialState.COMPLETE and p[0].feasible], BLUE, "circle"),
        UNFINISHED: ([p for p in found if p[0].state != TrialState.COMPLETE], ORANGE, "circle-open"),
        "infeasible": ([p for p in found if p[0].state == TrialState.COMPLETE and not p[0].feasible], "grey", "x"),
    }
    traces, number = [], 0
    for kind, (points, colour, symbol) in kinds.items():
        shown = some(points, MOST_DOTS, cost=lambda point: direction.cost(point[1]))
        number += len(shown)
        if shown:
            traces.append(_dots(shown, kind, {"color": colour, "symbol": symbol, "size": 6}))
    steps = _best_so_far(kinds[COMPLETE][0], direction, last=records[-1].number)
    if steps:
        x, y = zip(*steps, strict=True)
        traces.append(go.Scatter(x=x, y=y, mode="lines", line={"shape": "hv", "color": GREEN}, name="the best so far"))
    return figure(traces, title + of_all(number, len(found), "trial"), x="trial", y=f"{name} ({direction})")


def curves(store: Store, study: Study, metric: str | None) -> go.Figure:
    """A metric by epoch, or by step: the best trial's over those of the others."""
    name = metric or (study.objectives.metrics or (OBJECTIVE,))[0]
    title = f"{as_text(study.name)}: curves"
    records = [one for one in study.trials(has_curves=False) if one.epochs and one.before_change is None]
    kinds: dict[str, tuple[list[TrialRecord], dict[str, Any]]] = {
        UNFINISHED: (
            [one for one in records if one.state != TrialState.COMPLETE],
            {"color": ORANGE, "width": 1},
        ),
        COMPLETE: ([one for one in records if one.state == TrialState.COMPLETE], {"color": BLUE, "width": 1}),
    }
    chosen = {kind: some(its, MOST_CURVES, cost=_cost(study.direction)) for kind, (its, _) in kinds.items()}
    best = [] if study.objectives.are_several else study.best(1)
    numbers = {one.number for its in chosen.values() for one in its} | {one.number for one in best}
    if not numbers:
        return empty(title, "no trial has trained an epoch yet")
    points = _read(store, study, numbers, name)
    traces = [
        _lines(points, [one.number for one in its], kind, kinds[kind][1], opacity=0.6)
        for kind, its in chosen.items()
        if its
    ]
    unit = records[0].unit
    for one in best:
        traces.append(
            _lines(points, [one.number], f"the best, trial {one.number}", {"color": GREEN, "width": 3}, opacity=1.0)
        )
    drawn = sum(len(its) for its in chosen.values())
    return figure(traces, title + of_all(drawn, len(records), "trial"), x=str(unit), y=as_text(name))


def _dots(points: Sequence[Point], name: str, marker: dict[str, Any]) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[record.number for record, _ in points],
        y=[value for _, value in points],
        mode="markers",
        marker=marker,
        name=name,
        text=[as_text(f"trial {record.number}, {record.remark or record.state}") for record, _ in points],
        hovertemplate="%{text}: %{y:.4g}<extra></extra>",
    )


def _lines(
    points: dict[int, list[tuple[int, float | None]]],
    numbers: Iterable[int],
    name: str,
    line: dict[str, Any],
    *,
    opacity: float,
) -> Any:
    """The curves of these trials as one trace: a trace for each would take a browser seconds."""
    import plotly.graph_objects as go

    x: list[int | None] = []
    y: list[float | None] = []
    texts: list[str] = []
    for number in numbers:
        for epoch, value in [*points.get(number, []), (None, None)]:
            x.append(epoch)
            y.append(value)
            texts.append(f"trial {number}")
    return go.Scatter(
        x=x,
        y=y,
        text=texts,
        mode="lines+markers",
        marker={"size": 3},
        line=line,
        opacity=opacity,
        name=name,
        hovertemplate="%{text}: %{y:.4g} at %{x}<extra></extra>",
    )


def _read(store: Store, study: Study, numbers: set[int], metric: str) -> dict[int, list[tuple[int, float | None]]]:
    """By number, the curve of each of these trials."""
    with store.read() as connection:
        study_id = find_study(store, study.name)[0]
        wanted = (trials.c.study_id == study_id) & trials.c.number.in_(numbers)
        chosen = connection.scalars(select(trials.c.trial_id).where(wanted)).all()
        table = read_curves(connection, study_id, chosen, metrics=metric)
    found: dict[int, list[tuple[int, float | None]]] = defaultdict(list)
    number, epoch, _, value = table.values()
    for one, its_epoch, its_value in zip(number, epoch, value, strict=True):
        found[one].append((its_epoch, its_value))
    return found


def _value(record: TrialRecord, place: int) -> float | None:
    if place == 0:
        return record.value
    return record.values[place] if place < len(record.values) else None


def _best_so_far(points: Sequence[Point], direction: Direction, *, last: int) -> list[tuple[int, float]]:
    """(trial, value) wherever it changes, and at the last trial."""
    steps: list[tuple[int, float]] = []
    for record, value in points:
        if not steps or direction.cost(value) < direction.cost(steps[-1][1]):
            steps.append((record.number, value))
    return [*steps, (last, steps[-1][1])] if steps else []


def _cost(direction: Direction) -> Any:
    return lambda record: float("inf") if record.value is None else direction.cost(record.value)
