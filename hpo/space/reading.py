"""Reads a constructor's arguments: what each takes, and which of them have a range."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Hashable, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal, Union, cast, get_args, get_origin

from hpo.errors import SpecError
from hpo.space.constructor import Declared, declared_of
from hpo.space.entries import NAMESPACES, entries_of, structure_of, takes_entries
from hpo.space.numeric import Float, Int
from hpo.space.parameter import FromData, Owner, Parameter, When
from hpo.space.ranges import Choice, Range
from hpo.space.values import Value, is_plain, is_value, simplified

Hint = Literal["float", "int", "bool", "str", "choice", "list", "dict", "other"]

_OF_DEFAULTS: dict[type, Hint] = {
    bool: "bool",
    float: "float",
    str: "str",
    list: "list",
    tuple: "list",
    dict: "dict",
}  # An int default does not give the type: `weight_decay=0` means a real number.
_LISTS = (list, tuple, Sequence, MutableSequence)
_MAPPINGS = (dict, Mapping, MutableMapping, *NAMESPACES)


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor, searched or not, as plain data that can be sent between processes."""

    name: str
    owner: Owner = "model"
    hint: Hint = "other"
    has_default: bool = False
    default: Value = None  # also None where JSON cannot hold the default; a path's text
    choices: tuple[Value, ...] = ()  # of a Literal or bool hint
    is_from_data: bool = False  # taken from the data module, where it has an attribute of that name,
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, hash=False)  # while these arguments are such
    takes_entries: bool = False  # a mapping, to which entries of any name may be given


def label_of(target: Callable[..., Any]) -> str:
    """The class's import path as in a study file, such as `models.cnn:CNN`."""
    return f"{target.__module__}:{target.__qualname__}"


def arguments_of(target: Callable[..., Any], owner: Owner = "model") -> tuple[Argument, ...]:
    """Every argument that the constructor takes by name.

    Raises:
        SpecError: an annotation with a range cannot be evaluated.
    """
    return _arguments_of(cast(Hashable, target), owner)


def argument_of_value(name: str, owner: Owner, value: object = inspect.Parameter.empty) -> Argument:
    """The argument of a name that no signature has, whose default is what the study file gives, if anything."""
    return _argument(Declared(name, inspect.Parameter.empty, value, 0), owner)


def entry_arguments_of(target: Callable[..., Any], owner: Owner = "model") -> tuple[Argument, ...]:
    """The known entries of the constructor's arguments, by their paths: `optim.lr`."""
    return tuple(_argument(declared, owner) for declared in entries_of(target))


@functools.cache  # a trial process reads the same classes four times per trial
def _arguments_of(target: Any, owner: Owner) -> tuple[Argument, ...]:
    arguments = tuple(_argument(declared, owner) for declared in declared_of(target))
    names = {argument.name for argument in arguments}
    for argument in arguments:
        for parent in argument.when.keys() - names:
            raise SpecError(f"'{argument.name}' depends on '{parent}', but there is no such argument")
    return arguments


def parameters_of(target: Callable[..., Any], owner: Owner) -> tuple[Parameter, ...]:
    """The arguments with a range, each after the parameters that it depends on.

    Raises:
        SpecError: a range, its default or its condition is invalid.
    """
    depths: dict[str, int] = {}
    parameters: list[Parameter] = []
    for declared in declared_of(target):
        parameter = _parameter(declared, owner)
        if parameter is not None:
            depths[parameter.name] = declared.depth
            parameters.append(parameter)
    _check_own_order(parameters, depths)
    return parents_first(parameters)


def _argument(declared: Declared, owner: Owner) -> Argument:
    hint, choices = _hint(declared.hint)
    default = declared.default
    if declared.annotation is inspect.Parameter.empty:
        hint = _OF_DEFAULTS.get(type(default), "other")
        choices = (False, True) if hint == "bool" else ()
    if structure_of(declared.hint, default) is not None or isinstance(default, NAMESPACES):
        hint, choices = "dict", ()
    has_default = declared.has_default
    plain = simplified(default) if has_default and is_value(default) else None
    is_from_data = any(isinstance(item, FromData) for item in declared.metadata)
    conditions = [item.conditions for item in declared.metadata if isinstance(item, When)]
    if isinstance(default, PurePath):
        plain = str(default)
    return Argument(
        declared.name,
        owner,
        hint,
        has_default=has_default,
        default=plain,
        choices=choices,
        is_from_data=is_from_data,
        when=conditions[0] if is_from_data and conditions else {},
        takes_entries=takes_entries(declared) and hint in ("dict", "other"),
    )


def _parameter(declared: Declared, owner: Owner) -> Parameter | None:
    name, metadata = declared.name, declared.metadata
    ranges = [item for item in metadata if isinstance(item, Float | Int | Choice)]
    conditions = [item for item in metadata if isinstance(item, When)]
    for item in metadata:
        if item in (Float, Int, Choice, When, FromData):
            raise SpecError(f"'{name}': write {item.__name__}(...), not {item.__name__}")
    is_from_data = any(isinstance(item, FromData) for item in metadata)
    if not ranges and (is_from_data or not conditions):  # a condition of what the data give makes no parameter
        _refuse_nested(declared)
        return None
    if len(ranges) != 1 or len(conditions) > 1:
        raise SpecError(f"'{name}' needs one range and at most one When(...)")
    has_default = declared.has_default
    if conditions and not has_default:
        raise SpecError(f"'{name}' has a condition, so it needs a default for when it is inactive")
    return Parameter(
        name,
        _agreeing(name, ranges[0], declared.hint),
        default=declared.default if has_default else None,
        has_default=has_default,
        when=conditions[0].conditions if conditions else {},
        owner=owner,
    )


def _agreeing(name: str, range_: Range, hint: Any) -> Range:
    """The range, checked against the type hint; a `Choice()` gets the choices of the hint."""
    kind, choices = _hint(hint)
    if isinstance(range_, Choice):
        if not range_.choices and not choices:
            raise SpecError(f"'{name}': Choice() needs its choices here, or a Literal or bool hint")
        if choices and not range_.within(Choice(*choices)):
            raise SpecError(f"'{name}': {range_} is not within the hint, {Choice(*choices)}")
        if kind in ("str", "int", "float") and not all(map(is_plain, range_.choices)):
            raise SpecError(f"'{name}': {range_} contradicts the hint of type {kind}; write Choice('a', 'b')")
        return range_ if range_.choices else Choice(*choices)
    if kind not in (("float", "other") if isinstance(range_, Float) else ("int", "float", "other")):
        raise SpecError(f"'{name}': {type(range_).__name__}(...) contradicts the hint of type {kind}")
    return range_


def _hint(hint: Any) -> tuple[Hint, tuple[Value, ...]]:
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    absent: tuple[Value, ...] = (None,) if types.NoneType in members else ()
    members = tuple(member for member in members if member is not types.NoneType)
    if members and all(get_origin(member) is Literal for member in members):
        literals = tuple(value for member in members for value in get_args(member))
        return ("choice", literals + absent) if all(map(is_plain, literals)) else ("other", ())
    if members == (bool,):
        return "bool", (False, True, *absent)
    if members in ((int,), (str,)):
        return ("int", ()) if members == (int,) else ("str", ())
    if members and all((get_origin(member) or member) in _LISTS for member in members):
        return "list", ()
    if members and all((get_origin(member) or member) in _MAPPINGS for member in members):
        return "dict", ()
    return ("float" if members and set(members) <= {int, float} else "other"), ()


def _refuse_nested(declared: Declared) -> None:
    inner = list(get_args(declared.annotation))
    for hint in inner:
        if any(isinstance(item, Float | Int | Choice | When) for item in getattr(hint, "__metadata__", ())):
            raise SpecError(
                f"'{declared.name}': the range must be outermost, as in Annotated[float | None, Float(...)]"
            )
        inner.extend(get_args(hint))


def _check_own_order(parameters: list[Parameter], depths: dict[str, int]) -> None:
    for position, parameter in enumerate(parameters):
        for later in parameters[position:]:
            if later.name in parameter.when and depths[later.name] == depths[parameter.name]:
                raise SpecError(f"'{parameter.name}' depends on '{later.name}', which is declared after it")


def parents_first(parameters: list[Parameter]) -> tuple[Parameter, ...]:
    """The parameters, each after those that it depends on, otherwise in their order.

    One may depend on a parameter of the base class, which are listed last, or on one that a study file adds.
    """
    ordered: list[Parameter] = []
    while parameters:
        waiting = {parameter.name for parameter in parameters}
        ready = next((p for p in parameters if not waiting & p.when.keys()), parameters[0])
        parameters = [parameter for parameter in parameters if parameter is not ready]
        ordered.append(ready)
    return tuple(ordered)
