"""What all figures share: texts of users as text, some of many trials, and a figure that says why it is empty."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.printable import counted, in_a_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

T = TypeVar("T")

MARGINS = {"l": 60, "r": 30, "t": 60, "b": 50}
BLUE, GREY, ORANGE, GREEN = "#2a7fbf", "#8c8c8c", "#d9822b", "#2e9e5b"  # readable on a light and a dark page
BEST_OF_SOME = 10  # trials that are drawn in any case


def as_text(value: Any) -> str:
    """A text of a user or a store, without the tags that plotly would obey, and with its controls written out."""
    return html.escape(in_a_line(str(value)), quote=False)


def some(items: Sequence[T], most: int, *, cost: Callable[[T], float] | None = None) -> list[T]:
    """At most so many, evenly chosen, and of more the best ones; in their order."""
    if len(items) <= most:
        return list(items)
    step = len(items) / most
    places = {int(step * place) for place in range(most)}
    if cost is not None:
        places |= set(sorted(range(len(items)), key=lambda place: cost(items[place]))[:BEST_OF_SOME])
    return [items[place] for place in sorted(places)]


def of_all(number: int, all_of_them: int, noun: str) -> str:
    """` (400 of 10,000 trials)`; empty where all are drawn."""
    return f" ({number:,} of {counted(all_of_them, noun)})" if number < all_of_them else ""


def figure(traces: Sequence[Any], title: str, *, x: str = "", y: str = "", **layout: Any) -> go.Figure:
    """A figure with a title and its axes; the texts are escaped already."""
    import plotly.graph_objects as go

    axes = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}} if x or y else {}
    return go.Figure(list(traces), {"title": {"text": title}, "margin": MARGINS, **axes, **layout})


def empty(title: str, why: str) -> go.Figure:
    """A figure that says why it shows nothing: a notebook whose cells are all run goes on."""
    note = {"text": why, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    hidden = {"visible": False}
    return figure([], title, annotations=[note], xaxis=hidden, yaxis=hidden)
