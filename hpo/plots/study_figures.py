"""Figures of a whole study: importances, the times of its attempts, and its front."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from hpo.plots.drawing import BLUE, GREEN, GREY, ORANGE, as_text, empty, figure, of_all, some
from hpo.printable import counted
from hpo.queue.progress import find_study
from hpo.report.importances import Importances
from hpo.results.pareto import Front
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_workers, trials
from hpo.study.states import TrialState

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_BARS = 2_000  # trials of a timeline, the last ones
MOST_BEHIND = 2_000  # trials behind a front
COLOURS = {
    TrialState.COMPLETE: BLUE,
    TrialState.PRUNED: ORANGE,
    TrialState.FAILED: "#c0392b",
    TrialState.RUNNING: GREEN,
}


def importance(found: Importances) -> go.Figure:
    """A bar for each parameter, with its spread."""
    import plotly.graph_objects as go

    title = f"{as_text(found.study)}: importance of parameters"
    if not found.parameters:
        return empty(title, as_text(found.remark or "there is nothing to compare"))
    least_first = found.parameters[::-1]  # the most important one is at the top
    spread = {
        "type": "data",
        "symmetric": False,
        "array": [one.high - one.value for one in least_first],
        "arrayminus": [one.value - one.low for one in least_first],
    }
    bars = go.Bar(
        x=[one.value for one in least_first],
        y=[as_text(one.name) for one in least_first],
        orientation="h",
        marker={"color": [BLUE if one.matters == "yes" else GREY for one in least_first]},
        error_x=spread,
        text=[f"matters: {one.matters}" for one in least_first],
        textposition="none",
        hovertemplate="%{y}: %{x:.0%}, %{text}<extra></extra>",
    )
    words = found.remark or f"by the best {found.best:,} of {counted(found.trials, 'complete trial')}"
    axis = {"type": "category", "automargin": True}
    return figure([bars], f"{title}<br><sub>{as_text(words)}</sub>", yaxis=axis, xaxis={"tickformat": ".0%"})


def timeline(store: Store, study: Study) -> go.Figure:
    """A bar for each attempt."""
    import plotly.graph_objects as go

    title = f"{as_text(study.name)}: timeline"
    records = study.trials(has_curves=False)
    shown = [one for one in records if one.started is not None][-MOST_BARS:]
    if not shown:
        return empty(title, "no trial has begun yet")
    with store.read() as connection:
        study_id = find_study(store, study.name)[0]
        attempts, now = _attempts(connection, study_id, first=shown[0].number)
    traces = []
    for state in TrialState:
        bars = [bar for one in shown if one.state == state for bar in _bars(one, attempts.get(one.number, []), now)]
        if bars:
            traces.append(
                go.Bar(
                    y=[number for number, *_ in bars],
                    base=[datetime.fromtimestamp(start, UTC).isoformat() for _, start, _, _ in bars],
                    x=[1000 * max(0.0, end - start) for _, start, end, _ in bars],  # milliseconds, on an axis of dates
                    orientation="h",
                    marker={"color": COLOURS.get(state, GREY)},
                    name=str(state),
                    text=[as_text(words) for *_, words in bars],
                    textposition="none",
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    axis = {"type": "date", "title": {"text": "time (UTC)"}}
    more = of_all(len(shown), len(records), "trial")
    return figure(
        traces, title + more, barmode="overlay", showlegend=True, xaxis=axis, yaxis={"title": {"text": "trial"}}
    )


Bar = tuple[int, float, float, str]  # (trial, start and end in seconds since 1970, words)


def _attempts(connection: Connection, study_id: int, *, first: int) -> tuple[dict[int, list[Any]], float]:
    """By the number of a trial, its attempts; and the time of the store."""
    rows = connection.execute(
        select(
            trials.c.number.label("trial"),
            *(hpo_attempts.c[name] for name in ("number", "slot", "device", "started", "ended", "kind")),
            hpo_workers.c.host,
        )
        .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        .where(trials.c.study_id == study_id, trials.c.number >= first)
        .order_by(trials.c.number, hpo_attempts.c.number)
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.trial].append(row)
    return found, float(connection.scalar(select(db_now())) or 0.0)


def _bars(record: TrialRecord, attempts: Sequence[Any], now: float) -> list[Bar]:
    """Of its attempts; of a trial of another program, from its start to its end."""
    if not attempts and record.started is not None:
        start = record.started.replace(tzinfo=UTC).timestamp()
        end = now if record.ended is None else record.ended.replace(tzinfo=UTC).timestamp()
        return [(record.number, start, end, f"trial {record.number}: {record.state}")]
    return [
        (
            record.number,
            row.started,
            now if row.ended is None else row.ended,
            f"trial {record.number}, attempt {row.number}: {row.kind or TrialState.RUNNING}, "
            f"{row.device or 'no device'} (slot {row.slot}) on {row.host}",
        )
        for row in attempts
    ]


def pareto(front: Front, places: Sequence[int]) -> go.Figure:
    """Two or three objectives against each other.

    Args:
        places: of these objectives.
    """
    import plotly.graph_objects as go

    title = f"{as_text(front.study)}: front"
    if not front.trials:
        return empty(title, "no trial has a value yet")
    names = [f"{as_text(front.names[place])} ({front.objectives.directions[place]})" for place in places]
    behind = some(front.others, MOST_BEHIND)
    traces = []
    for kind, records, colour in (("behind it", behind, GREY), ("on the front", front.trials, BLUE)):
        axes = {axis: [record.values[place] for record in records] for axis, place in zip("xyz", places, strict=False)}
        scatter = go.Scatter if len(places) == 2 else go.Scatter3d
        texts = [
            "<br>".join([f"trial {one.number}", *(as_text(f"{name}: {value}") for name, value in one.params.items())])
            for one in records
        ]
        hover = "%{text}<br>(%{x:.4g}, %{y:.4g}" + (", %{z:.4g}" if len(places) == 3 else "") + ")<extra></extra>"
        marker = {"color": colour, "size": 8 if len(places) == 2 else 4}
        traces.append(scatter(**axes, mode="markers", marker=marker, name=kind, text=texts, hovertemplate=hover))
    more = of_all(len(behind) + len(front.trials), len(front.others) + len(front.trials), "trial")
    if len(places) == 2:
        return figure(traces, title + more, x=names[0], y=names[1])
    scene = {f"{axis}axis": {"title": {"text": name}} for axis, name in zip("xyz", names, strict=True)}
    return figure(traces, title + more, scene=scene)
