"""The three kinds of range that a parameter is searched in.

    Float(1e-5, 1e-1, log=True)     real numbers; with a step, on a grid that starts at low
    Int(1, 6)                       whole numbers, likewise
    Choice("adam", "sgd")           one of some plain values; Choice() takes them from the type hint

Every range has the same methods: `problem` says why a value is invalid, `take` converts a valid value to the range's
type, `nearest` finds the closest valid value, `middle` is the middle of the range, `within` compares it with a wider
range, and `suggest` draws a value for a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import SpecError
from hpo.space.numeric import Float, Int, Trial, refuse
from hpo.space.values import Value, among, is_plain, same


@dataclass(frozen=True, init=False, eq=False)
class Choice:
    """One of some plain values. `Choice()` in a constructor takes them from its `Literal` or `bool` hint."""

    choices: tuple[Value, ...]

    def __init__(self, *choices: Value) -> None:
        for position, choice in enumerate(choices):
            if not is_plain(choice):
                raise SpecError(
                    f"a choice is a text, a number, true, false or null, not {choice!r}"
                    + ("; write Choice('a', 'b')" if isinstance(choice, list | tuple | set) else "")
                )
            for earlier in choices[:position]:
                if same(earlier, choice):
                    raise SpecError(f"the choice {choice!r} is listed twice")
                if earlier == choice:
                    # Optuna stores a choice by the position of the first one that compares equal.
                    raise SpecError(f"the store cannot distinguish the choices {earlier!r} and {choice!r}")
        object.__setattr__(self, "choices", choices)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        return len(self.choices) == len(other.choices) and all(map(same, self.choices, other.choices))

    def __hash__(self) -> int:
        return hash(self.choices)

    def __str__(self) -> str:
        listed = ", ".join(map(repr, self.choices))
        return listed if len(self.choices) == 1 else f"one of {listed}"

    def problem(self, value: object) -> str | None:
        """Why the value is invalid, as a text that follows its repr; None when it is a choice."""
        return None if self._matches(value) else f"is not {self}"

    def take(self, value: object) -> Value:
        """The choice that equals the value: 1 stands for 1.0 where 1.0 is a choice and 1 is not.

        Raises:
            SpecError: the value is none of the choices.
        """
        refuse(self.problem(value), value)
        return self._matches(value)[0]

    def nearest(self, value: object) -> Value:
        """The choice that is meant, or the first where the value is none."""
        return self.take(value) if self.problem(value) is None else self.choices[0]

    def middle(self) -> Value:
        """The first choice."""
        return self.choices[0]

    def within(self, wider: Range) -> bool:
        """Whether each choice is a value of the wider range."""
        if isinstance(wider, Choice):
            return all(among(choice, wider.choices) for choice in self.choices)
        own_type = float if isinstance(wider, Float) else int
        return all(type(choice) is own_type and wider.problem(choice) is None for choice in self.choices)

    def suggest(self, trial: Trial, name: str) -> Value:
        """A choice that the trial draws."""
        chosen: Value = trial.suggest_categorical(name, self.choices)
        return chosen

    def _matches(self, value: object) -> list[Value]:
        if not is_plain(value):
            return []
        return [c for c in self.choices if c == value and isinstance(c, bool) is isinstance(value, bool)]


Range = Float | Int | Choice


def range_to_json(range_: Range) -> dict[str, Any]:
    """The range as plain data for JSON."""
    if isinstance(range_, Choice):
        return {"kind": "choice", "choices": list(range_.choices)}
    kind = "float" if isinstance(range_, Float) else "int"
    return {"kind": kind, "low": range_.low, "high": range_.high, "log": range_.log, "step": range_.step}


def range_from_json(plain: Mapping[str, Any]) -> Range:
    """The range that `range_to_json` wrote."""
    if plain["kind"] == "choice":
        return Choice(*plain["choices"])
    cls = Float if plain["kind"] == "float" else Int
    return cls(plain["low"], plain["high"], log=plain["log"], step=plain["step"])
