"""One searched parameter: its range, its default, and the condition under which it is active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, Self

from hpo.errors import SpecError
from hpo.space.ranges import Choice, Range, range_from_json, range_to_json
from hpo.space.values import Value, among, in_words, is_value, same

Owner = Literal["model", "data", "trainer"]


@dataclass(frozen=True, init=False)
class When:
    """The parameter is active only while each parameter named here has the value, or one of the values."""

    conditions: Mapping[str, tuple[Value, ...]]

    def __init__(self, **conditions: Value | tuple[Value, ...]) -> None:
        if not conditions:
            raise SpecError("When() needs a condition, such as When(optimizer='sgd')")
        object.__setattr__(self, "conditions", _conditions(conditions))


@dataclass(frozen=True)
class FromData:
    """The argument is taken from the data module's attribute of the same name, where it has one.

    An argument without a default is always taken from there; this is for arguments with a default. With a `When(...)`
    beside it, the argument is taken only while that holds, so that what only some configurations need is neither made
    nor stored by the others.
    """


@dataclass(frozen=True, eq=False)
class Parameter:
    """A searched parameter.

    The default is the first value tried, and the value while the parameter is inactive. `when` maps each parameter
    that this one depends on to the values under which this one is active; all conditions must hold.
    """

    name: str
    range: Range
    _: KW_ONLY
    default: Value = None
    has_default: bool = False
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    owner: Owner = "model"

    def __post_init__(self) -> None:
        if isinstance(self.range, Choice) and not self.range.choices:
            raise SpecError(f"'{self.name}' has no choices")
        if self.has_default:
            problem = self.range.problem(self.default)
            if problem is not None:
                shown = in_words(self.default) if is_value(self.default) else repr(self.default)
                raise SpecError(f"the default {shown} of '{self.name}' {problem}")
            object.__setattr__(self, "default", self.range.take(self.default))
        elif self.default is not None:
            raise SpecError(f"'{self.name}' has the default {self.default!r} but has_default is false")
        object.__setattr__(self, "when", _conditions(self.when))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameter):
            return NotImplemented
        return (
            (self.name, self.range, self.owner, self.has_default)
            == (other.name, other.range, other.owner, other.has_default)
            and same(self.default, other.default)
            and self.when.keys() == other.when.keys()
            and all(Choice(*values) == Choice(*other.when[parent]) for parent, values in self.when.items())
        )

    def __hash__(self) -> int:
        return hash((self.name, self.range, self.owner))

    def __str__(self) -> str:
        default = f", default {in_words(self.default)}" if self.has_default else ""
        when = f", when {self.condition()}" if self.when else ""
        return f"{self.range}{default}{when}, of the {self.owner}"

    def condition(self) -> str:
        """The condition in words, such as `optimizer is 'sgd' and layers is one of 2, 3`."""
        return " and ".join(f"{parent} is {Choice(*values)}" for parent, values in self.when.items())

    def first(self) -> Value:
        """The default, or the middle of the range where there is none."""
        return self.default if self.has_default else self.range.middle()

    def is_active(self, params: Mapping[str, Any]) -> bool:
        """Whether the condition holds for these values; an absent parent does not meet it."""
        return all(parent in params and among(params[parent], values) for parent, values in self.when.items())

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            **range_to_json(self.range),
            "default": self.default,
            "has_default": self.has_default,
            "when": {parent: list(values) for parent, values in self.when.items()},
            "owner": self.owner,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        return cls(
            plain["name"],
            range_from_json(plain),
            default=plain["default"],
            has_default=plain["has_default"],
            when={parent: tuple(values) for parent, values in plain["when"].items()},
            owner=plain["owner"],
        )


def _conditions(conditions: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    checked = {}
    for parent, values in conditions.items():
        several = tuple(values) if isinstance(values, tuple | list) else (values,)
        if not several:
            raise SpecError(f"a condition on '{parent}' without a value can never hold")
        checked[parent] = Choice(*several).choices
    return checked
