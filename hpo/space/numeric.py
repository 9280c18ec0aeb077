"""Ranges of real and whole numbers, on a linear or logarithmic scale, with or without a grid."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from typing import Any, Protocol

from hpo.errors import SpecError
from hpo.space.values import in_words, is_number, is_value

# Optuna stores an integer as a float.
_LARGEST_INT = 2**53


class Trial(Protocol):
    """The methods of an Optuna trial that ranges use."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Float:
    """Real numbers from low to high. With a step, high moves down to the last point of the grid."""

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        for field in ("low", "high"):
            object.__setattr__(self, field, _finite(getattr(self, field), field))
        if self.step is not None:
            object.__setattr__(self, "step", _finite(self.step, "step"))
        _check_bounds(self)
        if self.step is not None:
            object.__setattr__(self, "high", self._grid_point(self._last_index(self.step)))

    def __str__(self) -> str:
        return _bounds_in_words(self)

    def problem(self, value: object, *, beyond: bool = False) -> str | None:
        """Why the value is invalid, as a text that follows its repr; None when it lies in the range.

        Args:
            beyond: it may lie outside the bounds.
        """
        if isinstance(value, str):
            return f"is a text, not a number{_unquoted(value)}"
        if not is_number(value):
            return "is not a number"
        if not (beyond or self.low <= value <= self.high):
            return f"lies outside {self}"
        if self.step is not None and not _is_whole((float(value) - self.low) / self.step):
            return f"is not on the grid {self}"
        return None

    def take(self, value: object, *, beyond: bool = False) -> float:
        """The value, converted to the range's type.

        Args:
            beyond: it may lie outside the bounds.

        Raises:
            SpecError: the value does not lie in the range.
        """
        refuse(self.problem(value, beyond=beyond), value)
        return float(value)  # type: ignore[arg-type]

    def nearest(self, value: float) -> float:
        """The value of the range that is nearest to the given one."""
        clipped = min(max(float(value), self.low), self.high)
        return clipped if self.step is None else self._grid_point(round((clipped - self.low) / self.step))

    def middle(self) -> float:
        """The middle of the range, on its scale."""
        return self.nearest(_middle(self.low, self.high, self.log))

    def within(self, wider: object) -> bool:
        """Whether each value of this range is one of the wider range."""
        if not isinstance(wider, Float) or self.low < wider.low or self.high > wider.high:
            return False
        return self.has_grid_of(wider)

    def has_grid_of(self, other: Float) -> bool:
        """Whether each value of this range is on the other's grid, within its bounds or beyond them."""
        return other.step is None or _on_grid_of(self, other.low, other.step)

    def suggest(self, trial: Trial, name: str) -> float:
        """A value of the range, drawn by the trial."""
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def _last_index(self, step: float) -> int:
        index = (_exact(self.high) - _exact(self.low)) / _exact(step)
        # 0.1 + 2 * 0.1 is not 0.3 in floats, but is meant to be.
        return round(index) if _is_whole(float(index)) else math.floor(index)

    def _grid_point(self, index: int) -> float:
        assert self.step is not None
        return float(_exact(self.low) + index * _exact(self.step))


@dataclass(frozen=True)
class Int:
    """Whole numbers from low to high. With a step, high moves down to the last point of the grid."""

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int | None = None

    def __post_init__(self) -> None:
        for field in ("low", "high") if self.step is None else ("low", "high", "step"):
            _check_whole(getattr(self, field), field)
        if self.step == 1:
            object.__setattr__(self, "step", None)
        _check_bounds(self)
        if self.step is not None:
            object.__setattr__(self, "high", self.high - (self.high - self.low) % self.step)

    def __str__(self) -> str:
        return _bounds_in_words(self)

    def problem(self, value: object, *, beyond: bool = False) -> str | None:
        """Why the value is invalid, as a text that follows its repr; None when it lies in the range.

        Args:
            beyond: it may lie outside the bounds.
        """
        if isinstance(value, float) and value.is_integer():
            return f"is not an integer; write {int(value)}"
        if isinstance(value, str):
            return f"is a text, not an integer{_unquoted(value)}"
        if not isinstance(value, int) or isinstance(value, bool):
            return "is not an integer"
        if not (beyond or self.low <= value <= self.high):
            return f"lies outside {self}"
        if self.step is not None and (value - self.low) % self.step:
            return f"is not on the grid {self}"
        return None

    def take(self, value: object, *, beyond: bool = False) -> int:
        """The value, if it lies in the range.

        Args:
            beyond: it may lie outside the bounds.

        Raises:
            SpecError: the value does not lie in the range.
        """
        refuse(self.problem(value, beyond=beyond), value)
        return int(value)  # type: ignore[call-overload, no-any-return]

    def nearest(self, value: float) -> int:
        """The value of the range that is nearest to the given one."""
        step = self.step or 1
        clipped = min(max(value, self.low), self.high)
        return min(self.low + round((clipped - self.low) / step) * step, self.high)

    def middle(self) -> int:
        """The middle of the range, on its scale."""
        return self.nearest(_middle(self.low, self.high, self.log))

    def within(self, wider: object) -> bool:
        """Whether each value of this range is one of the wider range."""
        if not isinstance(wider, Int) or self.low < wider.low or self.high > wider.high:
            return False
        return self.has_grid_of(wider)

    def has_grid_of(self, other: Int) -> bool:
        """Whether each value of this range is on the other's grid, within its bounds or beyond them."""
        return other.step is None or _on_grid_of(self, other.low, other.step)

    def suggest(self, trial: Trial, name: str) -> int:
        """A value of the range, drawn by the trial."""
        return trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=self.log)


def refuse(problem: str | None, value: object) -> None:
    """Raise a SpecError about the value if it has a problem."""
    if problem is not None:
        raise SpecError(f"{in_words(value) if is_value(value) else repr(value)} {problem}")


def _finite(value: object, field: str) -> float:
    if isinstance(value, str):
        raise SpecError(f"{field} is the text {value!r}, not a number{_unquoted(value)}")
    if not is_number(value):
        raise SpecError(f"{field} is {value!r}, which is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SpecError(f"{field} is {value!r}, but a range must be finite")
    return number + 0.0  # -0.0 and 0.0 are the same bound


def _check_whole(value: object, field: str) -> None:
    number = _finite(value, field)
    if not isinstance(value, int):
        hint = f"; write {int(number)}" if number.is_integer() else ""
        raise SpecError(f"{field} is {value!r}, which is not an integer{hint}")
    if abs(value) > _LARGEST_INT:
        raise SpecError(f"{field} is {value!r}, but the store holds integers up to 2**53")


def _check_bounds(range_: Float | Int) -> None:
    low, high, step = range_.low, range_.high, range_.step
    if not isinstance(range_.log, bool):
        raise SpecError(f"log is {range_.log!r}, but must be true or false")
    if low > high:
        raise SpecError(f"low {low!r} is above high {high!r}")
    if range_.log and low <= 0:
        raise SpecError(f"a log range must start above 0, not at {low!r}")
    if step is None:
        return
    if range_.log:
        raise SpecError("a range is either log or has a step, not both")
    if step <= 0:
        raise SpecError(f"step is {step!r}, but must be above 0")
    if low < high and step > high - low and not math.isclose(step, high - low):
        raise SpecError(f"step {step!r} is wider than the range from {low!r} to {high!r}")
    if (high - low) / step > _LARGEST_INT:
        raise SpecError(f"step {step!r} is too fine for the range from {low!r} to {high!r}")


def _bounds_in_words(range_: Float | Int) -> str:
    step = "" if range_.step is None else f", step {range_.step!r}"
    return f"{range_.low!r} to {range_.high!r}{step}{', log' if range_.log else ''}"


def _middle(low: float, high: float, log: bool) -> float:
    return math.exp((math.log(low) + math.log(high)) / 2) if log else low / 2 + high / 2


def _on_grid_of(range_: Float | Int, low: float, step: float) -> bool:
    """Whether each point of the range is one of low, low + step, low + 2 * step, ..."""
    if not _is_whole((range_.low - low) / step):
        return False
    if range_.low == range_.high:
        return True
    own_step = 1 if range_.step is None and isinstance(range_, Int) else range_.step
    return own_step is not None and _is_whole(own_step / step)


def _unquoted(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return ""
    return "; write it without quotes, such as 1.0e-4"


def _is_whole(number: float) -> bool:
    # Optuna's tolerance for a point on a grid.
    return abs(number - round(number)) < 1e-8


def _exact(number: float) -> Decimal:
    # The decimal as written, 0.1, not the nearest binary fraction.
    return Decimal(repr(number))
