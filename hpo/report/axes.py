"""Axes of plots: where a value lies, as a share of the axis, and the ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from hpo.report.words import shown
from hpo.space import Choice, SearchSpace
from hpo.space.values import equal, is_number, label_of_value
from hpo.study.states import Direction

WIDE_RATIO = 1000.0  # of the largest to the smallest value, above which an axis is logarithmic


@dataclass(frozen=True)
class Axis:
    """An axis of numbers, or of choices.

    Attributes:
        choices: their labels as the store has them; of numbers, none.
        is_whole: ticks at whole numbers only.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    choices: tuple[Any, ...] = ()
    is_whole: bool = False

    def at(self, value: Any) -> float | None:
        """The place of a value: 0 at the beginning of the axis, 1 at its end; None where it has none."""
        if self.choices:
            label = label_of_value(value)
            place = next((number for number, one in enumerate(self.choices) if equal(one, label)), None)
            return None if place is None else (place + 0.5) / len(self.choices)
        if not is_number(value) or not math.isfinite(value) or (self.is_log and value <= 0):
            return None
        low, high, number = (math.log10(x) if self.is_log else float(x) for x in (self.low, self.high, value))
        return (number - low) / (high - low) if high > low else 0.5

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """The places and texts of about so many ticks."""
        if self.choices:
            every = math.ceil(len(self.choices) / max(most, 1))
            texts = [shown(choice) for choice in self.choices]
            return [((place + 0.5) / len(texts), text) for place, text in enumerate(texts) if place % every == 0]
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last > first:
                every = math.ceil((last - first + 1) / max(most, 2))
                return self._placed([10.0**power for power in range(first, last + 1, every)])
        locator = MaxNLocator(most, steps=[1, 2, 5, 10], integer=self.is_whole)
        return self._placed([float(value) for value in locator.tick_values(self.low, self.high)])

    def _placed(self, values: Sequence[float]) -> list[tuple[float, str]]:
        placed = [
            (place, value) for value in values if (place := self.at(value)) is not None and -1e-6 <= place <= 1 + 1e-6
        ]
        texts = [_short(value) for _, value in placed]
        if not self.is_log and not any("e" in text for text in texts):
            decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
            texts = [f"{value:.{decimals}f}" for _, value in placed]
        return [(place, text) for (place, _), text in zip(placed, texts, strict=True)]


def axis_of_numbers(
    name: str, values: Sequence[float], *, is_log: bool = False, is_whole: bool = False, margin: float = 0.04
) -> Axis:
    """An axis that has room for these values, and a margin on both sides."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)]
    if not finite:
        return Axis(name, *((0.1, 1.0) if is_log else (0.0, 1.0)), is_log=is_log, is_whole=is_whole)
    low, high = min(finite), max(finite)
    if is_log:
        room = (high / low) ** margin if high > low else 2.0
        return Axis(name, low / room, high * room, is_log=True)
    room = (high - low) * margin if high > low else abs(high) * 0.1 or 1.0
    return Axis(name, low - room, high + room, is_whole=is_whole)


def axis_of_objective(name: str, values: Sequence[float], direction: Direction) -> Axis:
    """An axis for values of the objective, which leaves out those that are far worse than the others.

    One value of a trial that has diverged would press all others together. The limit is 3 interquartile ranges worse
    than the worse quartile, Tukey's outer fence.
    """
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return axis_of_numbers(name, [])
    costs = np.array([direction.cost(float(value)) for value in finite])
    quarter, half, most = np.quantile(costs, [0.25, 0.5, 0.75])
    fence = most + 3 * max(most - quarter, 2 * (half - costs.min()) if most == quarter else 0.0)
    kept = finite[costs <= fence]
    return axis_of_numbers(name, [float(value) for value in kept])


def axes_of_parameters(names: Sequence[str], points: Sequence[Any], space: SearchSpace | None) -> dict[str, Axis]:
    """The axis of each parameter: of its range where the space has it, otherwise of its values."""
    return {name: _of_parameter(name, [point[name] for point in points if name in point], space) for name in names}


def _of_parameter(name: str, values: Sequence[Any], space: SearchSpace | None) -> Axis:
    if space is not None and name in space:
        range_ = space[name].range
        if isinstance(range_, Choice):
            return Axis(name, choices=range_.labels)
        return axis_of_numbers(name, [range_.low, range_.high], is_log=range_.log, is_whole=isinstance(range_.low, int))
    if not all(is_number(value) for value in values):
        return Axis(name, choices=tuple(sorted({label_of_value(value) for value in values}, key=str)))
    numbers = [float(value) for value in values]
    is_log = bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) > WIDE_RATIO
    return axis_of_numbers(name, numbers, is_log=is_log, is_whole=all(isinstance(value, int) for value in values))


def _short(value: float) -> str:
    """`0.001`, `1e-5`, `20000`."""
    text = f"{value:.6g}"
    mantissa, letter, power = text.partition("e")
    return f"{mantissa}e{int(power)}" if letter else text
