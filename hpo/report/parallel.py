"""Parallel coordinates: an axis for each parameter, and a line for each trial that ends at its objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from hpo.printable import in_a_line
from hpo.report.axes import Axis
from hpo.report.svg import LETTER, clipped, rounded
from hpo.report.words import shortened


@dataclass(frozen=True)
class Group:
    """Lines of one kind.

    Attributes:
        lines: the values of each in the order of the axes; None where it has none.
        width: of a line, in pixels.
    """

    kind: str
    lines: Sequence[Sequence[Any]]
    width: float


def side_by_side(width: float, height: float, axes: Sequence[Axis], groups: Sequence[Group]) -> Markup:
    """With vertical axes.

    Args:
        groups: from the back to the front.
    """
    top, side = 44.0, 34.0
    tall, step = height - top - 14, (width - 2 * side) / max(len(axes) - 1, 1)
    parts = _begin(width, height, axes)
    parts += _lines(axes, groups, lambda number, place: (side + number * step, top + (1 - place) * tall))
    is_dense, last = len(axes) > 6, len(axes) - 1
    for number, axis in enumerate(axes):
        x = side + number * step
        anchor, edge = ("start", 0.0) if number == 0 else ("end", width) if number == last else ("mid", x)
        name = clipped(axis.name, (1.9 if is_dense else 1) * step / LETTER)
        row = 14 if is_dense and number % 2 else 32  # names of many axes have two rows
        parts.append(f'<path class="axis" d="M{rounded(x)} {top:g}v{tall:g}"/>')
        parts.append(f'<text class="name {anchor}" x="{rounded(edge)}" y="{row}">{name}</text>')
        for place, text in axis.ticks(5):
            y = rounded(top + (1 - place) * tall)
            most = max(4, int((step if number < last else side) / LETTER))
            parts.append(f'<path class="axis" d="M{rounded(x - 3)} {y}h6"/>')
            name = escape(shortened(text, most))
            parts.append(f'<text class="tick halo" x="{rounded(x + 6)}" y="{y}" dy="4">{name}</text>')
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  # of our own numbers, and of texts that were escaped


def one_below_the_other(width: float, axes: Sequence[Axis], groups: Sequence[Group]) -> Markup:
    """With horizontal axes: for phones, and for many parameters."""
    step, top, side = 52.0, 24.0, 10.0
    height, wide = top + step * (len(axes) - 1) + 26, width - 2 * side
    parts = _begin(width, height, axes)
    parts += _lines(axes, groups, lambda number, place: (side + place * wide, top + number * step))
    for number, axis in enumerate(axes):
        y = top + number * step
        ticks = axis.ticks(4)
        parts.append(f'<path class="axis" d="M{side:g} {rounded(y)}h{wide:g}"/>')
        parts.append(f'<text class="name halo" x="{side:g}" y="{rounded(y - 8)}">{clipped(axis.name, 40)}</text>')
        for place, text in ticks:
            x = side + place * wide
            name = shortened(text, max(3, int(wide / max(len(ticks), 1) / LETTER)))
            half = len(name) * LETTER / 2
            middle = rounded(min(max(x, half), width - half))
            parts.append(f'<path class="axis" d="M{rounded(x)} {rounded(y)}v4"/>')
            parts.append(f'<text class="tick mid halo" x="{middle}" y="{rounded(y + 16)}">{escape(name)}</text>')
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  # likewise


def _begin(width: float, height: float, axes: Sequence[Axis]) -> list[str]:
    label = escape(f"parallel coordinates of {', '.join(in_a_line(axis.name) for axis in axes)}")
    return [f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">']


def _lines(
    axes: Sequence[Axis], groups: Sequence[Group], place_of: Callable[[int, float], tuple[float, float]]
) -> list[str]:
    """A path for each group; a line is broken at an axis that it has no value for.

    Args:
        place_of: the coordinates of a place on an axis, by the axis' number.
    """
    parts = []
    for group in groups:
        pieces: list[str] = []
        for values in group.lines:
            is_broken = True
            for number, (axis, value) in enumerate(zip(axes, values, strict=True)):
                place = None if value is None else axis.at(value)
                if place is None:
                    is_broken = True
                    continue
                x, y = place_of(number, min(max(place, 0.0), 1.0))
                pieces.append(f"{'M' if is_broken else 'L'}{rounded(x)} {rounded(y)}")
                is_broken = False
        if pieces:
            parts.append(f'<path class="line {group.kind}" stroke-width="{group.width:g}" d="{"".join(pieces)}"/>')
    return parts
