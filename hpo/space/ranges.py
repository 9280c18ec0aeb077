"""The three kinds of range that a parameter is searched in.

    Float(1e-5, 1e-1, log=True)     real numbers; with a step, on a grid that starts at low
    Int(1, 6)                       whole numbers, likewise
    Choice("adam", "sgd")           one of some values; Choice() takes them from the type hint
    Choice([64, 64], [128])         a value may be a list or a mapping, which Optuna stores by its JSON text

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
from hpo.space.values import Scalar, Value, among, equal, in_words, is_value, label_of_value, same, simplified


@dataclass(frozen=True, init=False, eq=False)
class Choice:
    """One of some values. `Choice()` in a constructor takes them from its `Literal` or `bool` hint.

    Tuples are kept as lists; a constructor whose hint or default is a tuple is given tuples again.
    """

    choices: tuple[Value, ...]

    def __init__(self, *choices: Value | tuple[Any, ...]) -> None:
        taken: list[Value] = []
        for choice in choices:
            if not is_value(choice):
                raise SpecError(
                    "a choice is a text, a finite number, true, false, null, or a list or mapping of these, not "
                    f"{choice!r}" + ("; write Choice('a', 'b')" if isinstance(choice, set) else "")
                )
            value = simplified(choice)
            for earlier in taken:
                if same(earlier, value):
                    raise SpecError(f"the choice {in_words(value)} is listed twice")
                if label_of_value(earlier) == label_of_value(value):
                    # Optuna stores a choice by the position of the first one that compares equal.
                    raise SpecError(f"the store cannot distinguish the choices {earlier!r} and {value!r}")
            taken.append(value)
        object.__setattr__(self, "choices", tuple(taken))

    @property
    def labels(self) -> tuple[Scalar, ...]:
        """The choices as Optuna stores them."""
        return tuple(map(label_of_value, self.choices))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        return len(self.choices) == len(other.choices) and all(map(same, self.choices, other.choices))

    def __hash__(self) -> int:
        return hash(self.labels)

    def __str__(self) -> str:
        listed = ", ".join(map(in_words, self.choices))
        return listed if len(self.choices) == 1 else f"one of {listed}"

    def problem(self, value: object) -> str | None:
        """Why the value is invalid, as a text that follows its repr; None when it is a choice."""
        return None if self._matches(value) else f"is not {self}"

    def take(self, value: object) -> Value:
        """The choice that equals the value: 1 stands for 1.0 where 1.0 is a choice and 1 is not, a label for its list.

        Raises:
            SpecError: the value is none of the choices.
        """
        refuse(self.problem(value), value)
        return self._matches(value)[0]

    def nearest(self, value: object) -> Value:
        """The choice that equals the value, else the first one."""
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
        """A choice, drawn by the trial."""
        return self.take(trial.suggest_categorical(name, self.labels))

    def _matches(self, value: object) -> list[Value]:
        if not is_value(value):
            return []
        plain = simplified(value)
        return [choice for choice in self.choices if equal(choice, plain) or equal(label_of_value(choice), plain)]


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
