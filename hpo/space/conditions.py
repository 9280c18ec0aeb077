"""Conditions of a study's parameters: what is wrong with those of its file, and which a pin or a value decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpo.errors import nearest
from hpo.space.numeric import Float
from hpo.space.parameter import Parameter
from hpo.space.values import Value, among, equal, in_words

Conditions = dict[str, tuple[Value, ...]]


def wrong_conditions(
    name: str, parents: Iterable[str], parameters: Mapping[str, Parameter], fixed: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with the conditions that a study file gives a parameter, after all the file's changes."""
    for parent in parents:
        if parent == name:
            yield f"'{name}' depends on itself"
        elif parent not in parameters and parent not in fixed:
            hint = nearest(parent, [*parameters, *fixed])
            yield f"'{name}' depends on '{parent}', which is neither searched nor fixed by the study{hint}"
        elif name in _ancestors(parent, parameters):
            yield f"'{name}' and '{parent}' depend on each other"
        elif parent in parameters and parent not in fixed:
            range_ = parameters[parent].range
            if isinstance(range_, Float):
                yield f"'{name}' depends on '{parent}', but a condition needs a choice or an integer"
                continue
            for value in parameters[name].when[parent]:
                problem = range_.problem(value)
                if problem is not None:
                    yield f"'{name}' is active when '{parent}' is {in_words(value)}, which {problem}"


def _ancestors(name: str, parameters: Mapping[str, Parameter]) -> set[str]:
    found, rest = {name}, [name]
    while rest:
        here = rest.pop()
        above = set(parameters[here].when) - found if here in parameters else set()
        found |= above
        rest += above
    return found


def settled(
    parameters: Sequence[Parameter], pins: Mapping[str, Value], fixed: Mapping[str, Any]
) -> tuple[Parameter, ...]:
    """The parameters that are still searched, each with the part of its condition that is still undecided."""
    by_name = {parameter.name: parameter for parameter in parameters}
    known: dict[str, Conditions | None] = {}
    for parameter in parameters:
        known[parameter.name] = _open_conditions(parameter, by_name, fixed, known)
    return tuple(
        replace(parameter, when=when)
        for parameter in parameters
        if parameter.name not in pins and (when := known[parameter.name]) is not None
    )


def _open_conditions(
    parameter: Parameter,
    parameters: Mapping[str, Parameter],
    fixed: Mapping[str, Any],
    known: Mapping[str, Conditions | None],
) -> Conditions | None:
    """The conditions that depend on the trial; None when they can never hold."""
    conditions: Conditions = {}
    for parent, values in parameter.when.items():
        above = known.get(parent, {})
        if above is None:
            return None
        if parent not in fixed:
            range_ = parameters[parent].range
            above = {parent: tuple(range_.take(value) for value in values if range_.problem(value) is None)}
        elif not any(equal(fixed[parent], value) for value in values):
            return None
        # A pinned parent's own conditions decide whether it is active, so the child depends on them now.
        for name, allowed in above.items():
            both = tuple(value for value in allowed if among(value, conditions.get(name, allowed)))
            if not both:
                return None
            conditions[name] = both
    return conditions
