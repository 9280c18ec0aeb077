"""Drawings in a terminal: curves with axes, and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.ansi import AnsiDecoder
from rich.bar import Bar

from hpo.cli.console import Console
from hpo.printable import in_a_line

ROWS, LEAST_COLUMNS, MOST_COLUMNS = 20, 40, 120
COLUMNS_OF_A_BAR = 20
MARKERS = "ox+*#@%&$=~^"  # where there is no colour to tell curves apart


def draw_curves(curves: Mapping[str, Sequence[tuple[int, float]]], out: Console, *, x: str, y: str) -> None:
    """Draw a curve for each name, in colours where the terminal has them.

    Args:
        curves: finite values by their epoch, at least one for each name.
        x, y: what the axes are.
    """
    import plotext

    has_colour = out.is_terminal and out.color_system is not None and not out.no_color
    figure = plotext.figure.clear()
    figure.theme("default" if has_colour else "colorless")
    if has_colour:
        figure.canvas("default")  # the terminal's own background
    figure.plot_size(max(LEAST_COLUMNS, min(out.width, MOST_COLUMNS)), ROWS)
    for place, (name, points) in enumerate(curves.items()):
        marker = "braille" if has_colour else MARKERS[place % len(MARKERS)]
        drawn = figure.signal([float(at) for at, _ in points], [value for _, value in points], marker=marker)
        figure.draw(drawn.lines(True).label(in_a_line(name)))
    figure.label(in_a_line(x), 0, 0)
    figure.title(in_a_line(y))
    for line in AnsiDecoder().decode(figure.build().string(not has_colour)):
        out.print(line, soft_wrap=True)


def bar(share: float, out: Console) -> str:
    """A share of 1 as a bar of COLUMNS_OF_A_BAR characters."""
    drawn = Bar(size=1.0, begin=0.0, end=max(0.0, min(share, 1.0)), width=COLUMNS_OF_A_BAR)
    return "".join(segment.text for segment in out.render(drawn)).rstrip("\n")
