"""Writes plots as SVG: their colours are classes of the page's style, so that they change with it, and text is text.

A hundred thousand points have to fit into a page: the marks of a kind are one path, a handful of bytes a point.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

from hpo.printable import in_a_line
from hpo.report.axes import Axis
from hpo.report.words import shortened

Point = tuple[Any, Any]  # values of the two axes

LETTER = 7.0  # about the width of a letter, in the drawing's unit
TOP, BOTTOM, RIGHT = 26.0, 40.0, 14.0  # room around the axes


class Drawing:
    """A plot of two axes; its unit is a pixel where it is shown in its own size.

    Args:
        label: what it shows, for people who do not see it.
        left: room for the texts of the vertical axis; by default as much as they need.
    """

    def __init__(self, width: float, height: float, x: Axis, y: Axis, *, label: str, left: float | None = None) -> None:
        self._size = (width, height)
        self._x, self._y = x, y
        self._label = label
        most = max(2, int((height - TOP - BOTTOM) / 36)) if not y.choices else len(y.choices)
        self._y_ticks = [(place, shortened(text, 24)) for place, text in y.ticks(most)]
        needed = 10 + LETTER * max((len(text) for _, text in self._y_ticks), default=3)
        self._left = min(left or max(34.0, needed), width / 2)
        self._inner = (width - self._left - RIGHT, height - TOP - BOTTOM)
        self._marks: list[str] = []

    def line(self, points: Iterable[Point], kind: str, *, width: float = 1.5) -> None:
        """A line through the points; it is broken where one has no place."""
        self.lines([points], kind, width=width)

    def lines(self, lines: Iterable[Iterable[Point]], kind: str, *, width: float = 1.5) -> None:
        """Several lines of one kind."""
        path = "".join(self._path(points) for points in lines)
        if path:
            self._marks.append(f'<path class="line {kind}" stroke-width="{width:g}" d="{path}"/>')

    def dots(self, points: Iterable[Point], kind: str, *, radius: float = 3.0) -> None:
        """A dot at each point; those of a choice lie beside each other, those beyond the vertical axis at its end."""
        places = self._places(points, is_inside=True)
        if self._x.choices:
            room = 0.6 * self._inner[0] / len(self._x.choices)
            # steps of the golden ratio fill the room evenly
            places = [
                (rounded(float(x) + (number * 0.618 % 1 - 0.5) * room), y) for number, (x, y) in enumerate(places)
            ]
        path = "".join(f"M{x} {y}h.01" for x, y in places)
        if path:
            self._marks.append(f'<path class="dot {kind}" stroke-width="{2 * radius:g}" d="{path}"/>')

    def crosses(self, points: Iterable[Point], kind: str, *, radius: float = 3.5) -> None:
        """A cross at each point."""
        r = f"{radius:g}"
        arms = f"m-{r} -{r}l{2 * radius:g} {2 * radius:g}m0 -{2 * radius:g}l-{2 * radius:g} {2 * radius:g}"
        path = "".join(f"M{x} {y}{arms}" for x, y in self._places(points))
        if path:
            self._marks.append(f'<path class="line {kind}" stroke-width="1.6" d="{path}"/>')

    def named_dots(self, points: Iterable[tuple[Point, str]], kind: str, *, radius: float = 4.5) -> None:
        """A dot with a text that is shown where the pointer rests on it."""
        for point, text in points:
            for x, y in self._places([point], is_inside=True):
                name = escape(in_a_line(text))
                self._marks.append(
                    f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius:g}"><title>{name}</title></circle>'
                )

    def bar(self, low: Point, high: Point, kind: str, *, thickness: float) -> None:
        """A horizontal bar from one point to another."""
        for (x0, y), (x1, _) in [tuple(self._places([low, high]))]:
            width, top = max(float(x1) - float(x0), 0.5), float(y) - thickness / 2
            self._marks.append(
                f'<rect class="{kind}" x="{x0}" y="{top:.1f}" width="{width:.1f}" height="{thickness:g}"/>'
            )

    def column(self, x: tuple[float, float], height: float, kind: str) -> None:
        """A bar of a histogram: from the bottom of the plot."""
        for (x0, top), (x1, bottom) in [tuple(self._places([(x[0], height), (x[1], self._y.low)]))]:
            width, tall = max(float(x1) - float(x0) - 1, 0.5), max(float(bottom) - float(top), 0.0)
            self._marks.append(f'<rect class="{kind}" x="{x0}" y="{top}" width="{width:.1f}" height="{tall:.1f}"/>')

    def at_bottom(self, values: Iterable[Any], kind: str) -> None:
        """A cross at the bottom of the plot for each value, such as the trials without one."""
        inside = self._inner[1]
        path = "".join(
            f"M{rounded(place * self._inner[0] - 3)} {inside - 8:g}l6 6m0 -6l-6 6"
            for value in values
            if (place := self._x.at(value)) is not None
        )
        if path:
            self._marks.append(f'<path class="line {kind}" stroke-width="1.6" d="{path}"/>')

    def svg(self) -> Markup:
        """The whole drawing."""
        (width, height), (inner_width, inner_height) = self._size, self._inner
        parts = [
            f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-label="{escape(in_a_line(self._label))}">'
        ]
        parts += self._vertical_axis()
        parts += self._horizontal_axis()
        # an SVG within it cuts off what lies beyond the axes
        box = f'x="{self._left:g}" y="{TOP:g}" width="{inner_width:g}" height="{inner_height:g}"'
        parts += [f"<svg {box}>", *self._marks, "</svg></svg>"]
        return Markup("".join(parts))  # noqa: S704  # of our own numbers, and of texts that were escaped

    def _vertical_axis(self) -> list[str]:
        (width, _), (_, tall) = self._size, self._inner
        parts = [f'<text class="name" x="0" y="14">{clipped(self._y.name, (width - 10) / LETTER)}</text>']
        for place, text in self._y_ticks:
            y = rounded(TOP + (1 - place) * tall)
            parts.append(f'<path class="grid" d="M{self._left:g} {y}H{width - RIGHT:g}"/>')
            parts.append(f'<text class="tick end" x="{self._left - 6:g}" y="{y}" dy="4">{escape(text)}</text>')
        return parts

    def _horizontal_axis(self) -> list[str]:
        (width, height), (wide, tall) = self._size, self._inner
        bottom = TOP + tall
        parts = [f'<path class="axis" d="M{self._left:g} {bottom:g}H{width - RIGHT:g}"/>']
        ticks = self._x.ticks(max(2, int(wide / 70)))
        room = wide / max(len(ticks), 1) / LETTER
        for place, text in ticks:
            x = self._left + place * wide
            text = shortened(text, max(3, int(room)))
            half = len(text) * LETTER / 2
            x_text = min(max(x, self._left - 20 + half), width - half)
            parts.append(f'<path class="axis" d="M{rounded(x)} {bottom:g}v4"/>')
            parts.append(f'<text class="tick mid" x="{rounded(x_text)}" y="{bottom + 18:g}">{escape(text)}</text>')
        middle = self._left + wide / 2
        parts.append(
            f'<text class="name mid" x="{middle:g}" y="{height - 5:g}">{clipped(self._x.name, wide / LETTER)}</text>'
        )
        return parts

    def _path(self, points: Iterable[Point]) -> str:
        pieces, is_broken = [], True
        for point in points:
            place = self._place(point)
            if place is None:
                is_broken = True
                continue
            pieces.append(f"{'M' if is_broken else 'L'}{place[0]} {place[1]}")
            is_broken = False
        return "".join(pieces)

    def _places(self, points: Iterable[Point], *, is_inside: bool = False) -> list[tuple[str, str]]:
        return [place for point in points if (place := self._place(point, is_inside=is_inside)) is not None]

    def _place(self, point: Point, *, is_inside: bool = False) -> tuple[str, str] | None:
        x, y = self._x.at(point[0]), self._y.at(point[1])
        if x is None or y is None:
            return None
        wide, tall = self._inner
        y = min(max(y, 0.0), 1.0) if is_inside else y
        # far beyond an axis, a place is as good as just beyond it
        return rounded(min(max(x, -1), 2) * wide), rounded((1 - min(max(y, -1), 2)) * tall)


def clipped(name: str, most: float) -> Markup:
    """A name of at most so many letters, as SVG."""
    return escape(shortened(in_a_line(name), max(4, int(most))))


def rounded(number: float) -> str:
    """A coordinate: a tenth of a pixel is exact enough."""
    return f"{number:.1f}".removesuffix(".0")
