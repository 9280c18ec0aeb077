"""What a study file's `constraints` demand of a trial, such as `peak_memory <= 8 GiB`, and by how much one violates it.

A constraint compares one quantity with one number. The quantities below are measured by the service; any other name is
that of a metric, whose value at a trial's best epoch counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hpo.errors import nearest
from hpo.study.objectives import INFERENCE_MS, PARAMETERS, PEAK_MEMORY, SECONDS_PER_EPOCH

# What is measured, and how much of its own unit each unit is; bytes, milliseconds and seconds are the own units.
UNITS: Mapping[str, Mapping[str, float]] = {
    PARAMETERS: {"": 1.0, "k": 1e3, "M": 1e6},
    PEAK_MEMORY: {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "KB": 1e3, "MB": 1e6, "GB": 1e9, "B": 1.0},
    INFERENCE_MS: {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3},
    SECONDS_PER_EPOCH: {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0},
}
REFUSALS_THAT_STOP = 100  # trials in a row that are refused before they train: hardly a point is feasible
EQUAL = 1e-9  # by how much a value violates `<` or `>` that is the bound itself
ATTRIBUTE = "constraints:"  # what Optuna's attribute begins with, see optuna.trial.Trial.set_constraint
BEFORE_CHANGE = f"{ATTRIBUTE}before_change"  # of no constraint: Optuna calls no trial the best that has it above 0

_FORM = "write NAME <= NUMBER UNIT, such as 'peak_memory <= 8 GiB', 'parameters < 1e6' or 'val_recall >= 0.9'"
_COMPARISON = re.compile(r"\s*(?:`([^`]+)`|([^\s<>=`]+))\s*(<=|>=|<|>)\s*([^<>=]+?)\s*")
_NUMBER = re.compile(r"([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*)")


@dataclass(frozen=True)
class Constraint:
    """One of them.

    Attributes:
        text: as it was written, on one line.
        name: of what is compared.
        operator: `<`, `<=`, `>` or `>=`.
        bound: in the quantity's own unit.
        unit: as it was written.
    """

    text: str
    name: str
    operator: str
    bound: float
    unit: str

    @property
    def is_upper(self) -> bool:
        """Whether the value has to be below the bound."""
        return self.operator.startswith("<")

    def violation(self, value: float) -> float:
        """By which part of the bound a value violates it, above 0; at most 0 of a feasible one.

        Optuna adds up what a trial violates, so amounts of several constraints are made comparable. Where the bound is
        0, it is the difference.
        """
        excess = (value - self.bound) * (1 if self.is_upper else -1) / (abs(self.bound) or 1.0)
        return EQUAL if excess == 0 and "=" not in self.operator else excess

    def shown(self, value: float) -> str:
        """`peak_memory 9.1 GiB, which should be <= 8 GiB`."""
        number = value / UNITS.get(self.name, {}).get(self.unit, 1.0)
        is_count = number == round(number) and abs(number) < 1e15
        words = f"{number:,.0f}" if is_count else f"{number:.4g}"
        bound = self.text[self.text.index(self.operator) :]
        return f"{self.name} {words}{f' {self.unit}' if self.unit else ''}, which should be {bound}"


def parse(text: str) -> Constraint:
    """The constraint that a text says.

    Raises:
        ValueError: it is none; says what is wrong with it.
    """
    line = " ".join(text.split())
    found = _COMPARISON.fullmatch(line)
    if found is None:
        raise ValueError(f"'{line}' is no comparison of a name with a number: {_FORM}")
    name, operator, rest = found[1] or found[2], found[3], found[4]
    number = _NUMBER.fullmatch(rest)
    bound = math.inf if number is None else float(number[1])
    if number is None or not math.isfinite(bound):
        raise ValueError(f"'{rest}' is no number: {_FORM}")
    unit, units = number[2], UNITS.get(name, {"": 1.0})
    if unit not in units:
        raise ValueError(_unit_problem(name, unit, units))
    return Constraint(line, name, operator, bound * units[unit], unit)


def _unit_problem(name: str, unit: str, units: Mapping[str, float]) -> str:
    known = ", ".join(filter(None, units))
    if name not in UNITS:
        return f"'{unit}' is no unit of the metric '{name}', which has none{nearest(name, UNITS)}"
    if not unit:
        return f"{name} needs a unit: {known}"
    return f"'{unit}' is no unit of {name}: write {known}"


@lru_cache(maxsize=256)
def constraints_of(texts: tuple[str, ...]) -> tuple[Constraint, ...]:
    """The constraints of a study file, which has been validated."""
    return tuple(map(parse, texts))


def violations(constraints: Iterable[Constraint], measured: Mapping[str, float]) -> dict[str, float]:
    """By name, by how much what is measured violates them; above 0 is not allowed. Of several of a name the most."""
    found: dict[str, float] = {}
    for one in constraints:
        if (value := measured.get(one.name)) is not None:
            found[one.name] = max(found.get(one.name, -math.inf), one.violation(value))
    return found


def violated(constraints: Iterable[Constraint], measured: Mapping[str, float]) -> list[Constraint]:
    """Those that what is measured violates."""
    return [one for one in constraints if one.name in measured and one.violation(measured[one.name]) > 0]


def refusing(constraints: Iterable[Constraint]) -> list[Constraint]:
    """Those by which a trial is refused before it trains, as one batch shows that it violates them.

    A trial's memory only grows: what one batch needs says nothing of a lower bound.
    """
    return [
        one
        for one in constraints
        if one.name in (PARAMETERS, INFERENCE_MS) or (one.name == PEAK_MEMORY and one.is_upper)
    ]


def total(violations: Mapping[str, float]) -> float:
    """What is violated, added up; 0 of a feasible trial."""
    return sum(amount for amount in violations.values() if amount > 0)


def of_attributes(attributes: Mapping[str, float]) -> dict[str, float]:
    """By name, the amounts among Optuna's system attributes."""
    return {key.removeprefix(ATTRIBUTE): amount for key, amount in attributes.items() if key.startswith(ATTRIBUTE)}


def as_attributes(violations: Mapping[str, float]) -> dict[str, float]:
    """The system attributes by which Optuna, its samplers and its dashboard know them."""
    return {f"{ATTRIBUTE}{name}": amount for name, amount in violations.items()}


def never_feasible(constraints: Sequence[Constraint]) -> list[tuple[int, str]]:
    """Those that no trial can satisfy beside an earlier one: their places, and why."""
    found = []
    for place, one in enumerate(constraints):
        for other in constraints[:place]:
            lower, upper = (other, one) if one.is_upper else (one, other)
            if one.name != other.name or one.is_upper == other.is_upper:
                continue
            if lower.bound > upper.bound or (lower.bound == upper.bound and "=" not in lower.operator + upper.operator):
                found.append((place, f"'{one.text}' and '{other.text}' exclude each other: no trial satisfies both"))
    return found
