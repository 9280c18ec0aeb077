"""The panel of a series over its time, with its parts and its gaps."""

from __future__ import annotations

from typing import Any

import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Array
from hpo.training.inspection.series import Span
from hpo.training.inspection.style import COLOURS, PART_COLOURS, VERMILLION, round_ticks, shortened

MOST_SERIES = 4  # distinguishable where they cross
LINE_OF_PART: tuple[Any, ...] = ("-", ":")  # train, validation, where colours tell the series apart


def draw_series(axes: Axes, layout: Layout) -> None:
    """The values of each series, interrupted where nothing was measured, and a mark at these times."""
    names = list(dict.fromkeys(span.series for span in layout.spans))
    parts = list(dict.fromkeys(span.part for span in layout.spans))[:2]
    is_single = len(names) == 1
    for span in layout.spans:
        number, part = names.index(span.series), parts.index(span.part) if span.part in parts else len(parts)
        if number >= MOST_SERIES or part == len(parts):
            continue
        colour = PART_COLOURS[part] if is_single else COLOURS[number]
        axes.plot(*_interrupted(span), color=colour, linestyle="-" if is_single else LINE_OF_PART[part], linewidth=1)
    gaps = [span.gaps for span in layout.spans if len(span.gaps) and names.index(span.series) < MOST_SERIES]
    handles = [
        Line2D([], [], color=PART_COLOURS[n] if is_single else "black", linestyle="-" if is_single else LINE_OF_PART[n])
        for n in range(len(parts))
    ]
    labels = list(parts)
    if not is_single:
        handles += [Line2D([], [], color=colour) for colour, _ in zip(COLOURS, names[:MOST_SERIES], strict=False)]
        labels += [shortened(name, 16) for name in names[:MOST_SERIES]]
    if gaps:
        times = np.unique(np.concatenate(gaps))
        [marks] = axes.plot(
            times, np.full(len(times), 0.03), "|", color=VERMILLION, transform=axes.get_xaxis_transform()
        )
        handles, labels = [*handles, marks], [*labels, f"gaps, filled ({sum(map(len, gaps)):,})"]
    # Above the panel, where it hides nothing.
    axes.legend(handles, labels, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(labels))
    some = f"{MOST_SERIES} of the {len(names)} series" if len(names) > MOST_SERIES else f"the {len(names)} series"
    axes.set_title(f"{'the series' if is_single else some}: {shortened(layout.outputs[0], 30)}", loc="left")
    axes.set_ylabel("value")
    round_ticks(axes.yaxis, 5)
    if np.issubdtype(layout.spans[0].times.dtype, np.datetime64):
        locator = mdates.AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        round_ticks(axes.xaxis, 8)


def _interrupted(span: Span) -> tuple[Array, Array]:
    """The times and the values, with a NaN at the times of the gaps, so that no line is drawn across them."""
    if not len(span.gaps):
        return span.times, span.values
    times = np.concatenate([span.times, span.gaps.astype(span.times.dtype)])
    values = np.concatenate([span.values, np.full(len(span.gaps), np.nan)])
    order = np.argsort(times, kind="stable")
    return times[order], values[order]
