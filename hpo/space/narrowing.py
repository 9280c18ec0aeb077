"""Applies a study file's `space` to a search space: it narrows, lists, pins or adds ranges.

    lr: {high: 1.0e-2}            narrows: keys that are not named stay
    optimizer: [adam, rmsprop]    lists the choices, also out of a range of numbers
    width: 64                     pins: no longer searched
    alpha: {low: 0, high: 1}      adds a range for a constructor argument that has none
    momentum: {when: {optimizer: sgd}, low: 0, high: 0.99}    searches it under a condition

Values may lie beyond the range of the class, which is what is worth a search in most studies, and not what is possible;
they are told.

Conditions of other parameters that pins and lists decide are resolved here, once, not in each trial.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hpo.errors import SpecError, nearest
from hpo.space.conditions import settled, wrong_conditions
from hpo.space.numeric import Float, Int
from hpo.space.parameter import Parameter
from hpo.space.ranges import Choice, Range
from hpo.space.reading import Argument, parents_first
from hpo.space.values import Value, in_words, is_number, is_value, simplified

KEYS = ("low", "high", "log", "step", "choices", "default", "when")
_ANY_NUMBER: dict[str, Float | Int] = {
    "float": Float(-sys.float_info.max, sys.float_info.max),
    "int": Int(-(2**53), 2**53),
}


class SpaceProblems(SpecError):  # noqa: N818  (it holds several)
    """All problems of a study's `space:` entries: pairs of a parameter's name and a message."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__(problems)
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join(message for _, message in self.problems)


class Narrowed(NamedTuple):
    """
    Attributes:
        parameters: that are searched after the changes.
        pins: the pinned values.
        beyond: what lies beyond the ranges of the classes, in words.
    """

    parameters: tuple[Parameter, ...]
    pins: dict[str, Value]
    beyond: tuple[str, ...]


def narrowed(
    parameters: Iterable[Parameter],
    changes: Mapping[str, Any],
    arguments: Sequence[Argument],
    label: str,
    given: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> Narrowed:
    """The parameters that are searched after the changes, and the pinned values.

    Args:
        given: searched arguments that the study fixes: they pin, also if they are lists or mappings.
        fixed: other arguments that it fixes, on which conditions may depend.

    Raises:
        SpaceProblems: with all problems of the changes.
    """
    searched = {parameter.name: parameter for parameter in parameters}
    pins: dict[str, Value] = {}
    problems: list[tuple[str, str]] = []
    result = dict(searched)
    taken = {argument.name: argument for argument in arguments}
    beyond: list[str] = []
    for name, written in {**given, **changes}.items():
        change = simplified(written)
        unknown = None if name in searched else _unknown(name, searched, arguments, label)
        if unknown is not None:
            problems.append((name, unknown))
            continue
        before = searched.get(name)
        try:
            if name in given or not isinstance(change, dict | list):
                pins[name] = _pinned(before, taken.get(name), change)
            elif before is not None:
                result[name] = _narrowed(before, taken.get(name), change)
            else:
                result[name] = _added(taken[name], change)
            if before is not None:
                beyond += _beyond(before.range, pins.get(name, result[name].range), name)
        except SpecError as error:
            problems.append((name, f"'{name}': {error}"))
    if not problems:
        problems = [
            (name, text)
            for name, change in changes.items()
            if isinstance(change, Mapping) and "when" in change
            for text in wrong_conditions(name, change["when"], result, {**fixed, **pins})
        ]
    if problems:
        raise SpaceProblems(problems)
    return Narrowed(settled(parents_first(list(result.values())), pins, {**fixed, **pins}), pins, tuple(beyond))


def _unknown(name: str, searched: Mapping[str, Parameter], arguments: Sequence[Argument], label: str) -> str | None:
    owners = [argument.owner for argument in arguments if argument.name == name]
    if len(owners) > 1:
        return f"'{name}' is ambiguous: it is an argument of {' and '.join(owners)}"
    if owners:
        return None
    hint = nearest(name, [*searched, *(argument.name for argument in arguments)])
    return f"'{name}' is not searched by {label}, which searches {', '.join(searched) or 'nothing'}{hint}"


def _pinned(before: Parameter | None, argument: Argument | None, value: object) -> Value:
    if before is not None:
        return _taken(before.range, argument, value)
    assert argument is not None
    return _fitting(argument, value)


def _taken(range_: Range, argument: Argument | None, value: object) -> Value:
    """The value in the range's type; it may lie beyond the range.

    Texts must be among the choices, or in the argument's hint: others are typing errors more often than not.
    """
    if not isinstance(range_, Choice):
        return range_.take(value, beyond=True)
    if range_.problem(value) is not None:
        if argument is not None and argument.choices:
            return Choice(*argument.choices).take(value)
        if is_number(value) and all(type(choice) is type(value) for choice in range_.choices):
            return value
    return range_.take(value)


def _beyond(range_: Range, chosen: Value | Range, name: str) -> list[str]:
    """What lies beyond a range of numbers, in words: a pinned value, or a range."""
    if isinstance(range_, Choice):
        return []
    if isinstance(chosen, Float | Int | Choice):
        return [] if chosen.within(range_) else [f"'{name}': {chosen} goes beyond {range_}"]
    return [] if range_.problem(chosen) is None else [f"'{name}': {in_words(chosen)} {range_.problem(chosen)}"]


def _narrowed(before: Parameter, argument: Argument | None, change: dict[str, Any] | list[Any]) -> Parameter:
    entries = _entries(change)
    range_ = _narrower(before.range, argument, entries)
    is_of_numbers = isinstance(range_, type(before.range)) and not isinstance(range_, Choice)
    if is_of_numbers and not range_.has_grid_of(before.range):  # type: ignore[union-attr, arg-type]
        raise SpecError(f"{range_} is not on the grid of {before.range}")
    when = {**before.when, **entries.get("when", {})}
    return replace(before, range=range_, when=when, **_default(range_, before, entries))


def _added(argument: Argument, change: dict[str, Any] | list[Any]) -> Parameter:
    entries = _entries(change)
    range_: Range
    if "choices" in entries:
        range_ = Choice(*(_fitting(argument, value) for value in entries["choices"]))
    elif argument.hint in ("bool", "str", "choice", "list", "dict"):
        raise SpecError("it is not a number, so list its choices")
    elif not {"low", "high"} <= entries.keys():
        raise SpecError("it has no range yet, so give low and high, or list its choices")
    else:
        numbers = _numbers(entries)
        whole = all(isinstance(numbers.get(key, 0), int) for key in ("low", "high", "step"))
        kind = Int if argument.hint == "int" or (argument.hint == "other" and whole) else Float
        range_ = kind(**numbers)
    default = _default(range_, argument, entries)
    return Parameter(argument.name, range_, owner=argument.owner, when=entries.get("when", {}), **default)


def _entries(change: dict[str, Any] | list[Any]) -> dict[str, Any]:
    entries = change if isinstance(change, dict) else {"choices": change}
    for key in entries:
        if key not in KEYS:
            raise SpecError(f"'{key}' is not known here{nearest(str(key), KEYS) or ': ' + ', '.join(KEYS)}")
    if "choices" in entries:
        if not isinstance(entries["choices"], list) or not entries["choices"]:
            raise SpecError("choices are a list of at least one value")
        if entries.keys() - {"choices", "default", "when"}:
            raise SpecError("it has either choices or bounds, not both")
    if "when" in entries and not (isinstance(entries["when"], dict) and entries["when"]):
        raise SpecError("when names parameters and their values, as in {when: {optimizer: sgd}}")
    return entries


def _numbers(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if key not in ("default", "when")}


def _narrower(range_: Range, argument: Argument | None, entries: Mapping[str, Any]) -> Range:
    if "choices" in entries:
        return Choice(*(_taken(range_, argument, value) for value in entries["choices"]))
    numbers = _numbers(entries)
    if isinstance(range_, Choice):
        if numbers:
            raise SpecError(f"it is {range_}: list choices, it has no {' or '.join(numbers)}")
        return range_
    before = {"low": range_.low, "high": range_.high, "log": range_.log, "step": range_.step}
    return type(range_)(**(before | numbers))


def _default(range_: Range, before: Parameter | Argument, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries' default, else the earlier one, moved to the nearest value of the new range."""
    if "default" in entries:
        problem = range_.problem(entries["default"])
        if problem is not None:
            raise SpecError(f"the default {in_words(entries['default'])} {problem}")
        return {"default": range_.take(entries["default"]), "has_default": True}
    if isinstance(range_, Choice) and before.has_default:
        return {"default": range_.nearest(before.default), "has_default": True}
    if not isinstance(range_, Choice) and is_number(before.default):
        return {"default": range_.nearest(before.default), "has_default": True}
    return {"default": None, "has_default": False}


def _fitting(argument: Argument, value: object) -> Value:
    """The value, converted to the type of the argument's hint."""
    if not is_value(value):
        raise SpecError(f"{value!r} is not a text, a finite number, true, false, null, a list or a mapping")
    if argument.choices:
        return Choice(*argument.choices).take(value)
    if value is None:
        return None
    if argument.hint == "str" and not isinstance(value, str):
        raise SpecError(f"{in_words(value)} is not a text; write it in quotes")
    if argument.hint == "list" and not isinstance(value, list):
        raise SpecError(f"{in_words(value)} is not a list: the choices of a list are lists, such as [[64, 64], [128]]")
    if argument.hint == "dict" and not isinstance(value, dict):
        raise SpecError(f"{in_words(value)} is not a mapping: the choices of a mapping are mappings")
    if argument.hint in _ANY_NUMBER:
        return _ANY_NUMBER[argument.hint].take(value)
    return value
