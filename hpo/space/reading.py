"""Reads a constructor's signature: its arguments, and which of them have a range.

A constructor with `**kwargs` also takes the arguments of the next one in the method resolution order, so a shared
base class can declare the parameters that all models have.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from hpo.errors import SpecError
from hpo.space.numeric import Float, Int
from hpo.space.parameter import FromData, Owner, Parameter, When
from hpo.space.ranges import Choice, Range
from hpo.space.values import Value, is_plain

Hint = Literal["float", "int", "bool", "str", "choice", "other"]


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor, searched or not, as plain data that can be sent between processes."""

    name: str
    owner: Owner = "model"
    hint: Hint = "other"
    has_default: bool = False
    default: Value = None  # also None where the default is not a plain value
    choices: tuple[Value, ...] = ()  # of a Literal or bool hint
    is_from_data: bool = False  # taken from the data module, where it has an attribute of that name


def label_of(target: Callable[..., Any]) -> str:
    """The class's import path as in a study file, such as `models.cnn:CNN`."""
    return f"{target.__module__}:{target.__qualname__}"


def arguments_of(target: Callable[..., Any], owner: Owner = "model") -> tuple[Argument, ...]:
    """Every argument that the constructor takes by name.

    Raises:
        SpecError: an annotation with a range cannot be evaluated.
    """
    return _arguments_of(cast(Hashable, target), owner)


@functools.cache  # a trial process reads the same classes four times per trial
def _arguments_of(target: Any, owner: Owner) -> tuple[Argument, ...]:
    return tuple(_argument(declared, owner) for declared in _declared(target))


def parameters_of(target: Callable[..., Any], owner: Owner) -> tuple[Parameter, ...]:
    """The arguments with a range, each after the parameters that it depends on.

    Raises:
        SpecError: a range, its default or its condition is invalid.
    """
    depths: dict[str, int] = {}
    parameters: list[Parameter] = []
    for declared in _declared(target):
        parameter = _parameter(declared, owner)
        if parameter is not None:
            depths[parameter.name] = declared.depth
            parameters.append(parameter)
    _check_own_order(parameters, depths)
    return _parents_first(parameters)


@dataclass(frozen=True)
class _Declared:
    name: str
    annotation: Any
    default: Any
    depth: int  # 0 for the constructor itself, 1 for the next one, which takes its **kwargs, ...


def _declared(target: Callable[..., Any]) -> list[_Declared]:
    found: dict[str, _Declared] = {}
    for depth, function in enumerate(_constructors(target)):
        arguments = list(inspect.signature(function).parameters.values())
        for argument in arguments[1:] if isinstance(target, type) else arguments:
            if argument.name in found or argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                continue
            hint = _evaluated(function, argument)
            if argument.kind is not argument.POSITIONAL_ONLY:
                found[argument.name] = _Declared(argument.name, hint, argument.default, depth)
            elif _metadata(hint):
                raise SpecError(f"'{argument.name}' is searched, so it must not be positional-only")
    return list(found.values())


def _constructors(target: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    if not isinstance(target, type):
        yield target
        return
    for cls in target.__mro__[:-1]:
        init = vars(cls).get("__init__")
        if init is None:
            continue
        try:
            kinds = {argument.kind for argument in inspect.signature(init).parameters.values()}
        except ValueError:  # written in C, without a signature
            return
        yield init
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return


def _evaluated(function: Callable[..., Any], argument: inspect.Parameter) -> Any:
    """The annotation as an object; Any where it cannot be evaluated and certainly has no range."""
    if argument.annotation is argument.empty:
        return argument.empty
    holder = types.SimpleNamespace(__annotations__={argument.name: argument.annotation})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return get_type_hints(holder, globalns=names, include_extras=True)[argument.name]
    except SpecError as error:
        raise SpecError(f"'{argument.name}': {error}") from error
    except Exception as error:
        # Users' modules may import names for the type checker only; their other arguments can be searched.
        if "Annotated" not in str(argument.annotation):
            return Any
        raise SpecError(f"'{argument.name}': its annotation cannot be read: {error}") from error


def _argument(declared: _Declared, owner: Owner) -> Argument:
    hint, choices = _hint(_bare(declared.annotation))
    default = declared.default
    if declared.annotation is inspect.Parameter.empty:
        # An int default does not give the type: `weight_decay=0` means a real number.
        hint = {bool: "bool", float: "float", str: "str"}.get(type(default), "other")  # type: ignore[assignment]
        choices = (False, True) if hint == "bool" else ()
    has_default = default is not inspect.Parameter.empty
    plain = default if has_default and is_plain(default) else None
    is_from_data = any(isinstance(item, FromData) for item in _metadata(declared.annotation))
    return Argument(
        declared.name, owner, hint, has_default=has_default, default=plain, choices=choices, is_from_data=is_from_data
    )


def _parameter(declared: _Declared, owner: Owner) -> Parameter | None:
    name, metadata = declared.name, _metadata(declared.annotation)
    ranges = [item for item in metadata if isinstance(item, Float | Int | Choice)]
    conditions = [item for item in metadata if isinstance(item, When)]
    for item in metadata:
        if item in (Float, Int, Choice, When, FromData):
            raise SpecError(f"'{name}': write {item.__name__}(...), not {item.__name__}")
    if not ranges and not conditions:
        _refuse_nested(declared)
        return None
    if len(ranges) != 1 or len(conditions) > 1:
        raise SpecError(f"'{name}' needs one range and at most one When(...)")
    has_default = declared.default is not inspect.Parameter.empty
    if conditions and not has_default:
        raise SpecError(f"'{name}' has a condition, so it needs a default for when it is inactive")
    return Parameter(
        name,
        _agreeing(name, ranges[0], _bare(declared.annotation)),
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
    return ("float" if members and set(members) <= {int, float} else "other"), ()


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return annotation.__metadata__ if get_origin(annotation) is Annotated else ()


def _bare(annotation: Any) -> Any:
    return annotation.__origin__ if get_origin(annotation) is Annotated else annotation


def _refuse_nested(declared: _Declared) -> None:
    inner = list(get_args(declared.annotation))
    for hint in inner:
        if any(isinstance(item, Float | Int | Choice | When) for item in _metadata(hint)):
            raise SpecError(
                f"'{declared.name}': the range must be outermost, as in Annotated[float | None, Float(...)]"
            )
        inner.extend(get_args(hint))


def _check_own_order(parameters: list[Parameter], depths: dict[str, int]) -> None:
    for position, parameter in enumerate(parameters):
        for later in parameters[position:]:
            if later.name in parameter.when and depths[later.name] == depths[parameter.name]:
                raise SpecError(f"'{parameter.name}' depends on '{later.name}', which is declared after it")


def _parents_first(parameters: list[Parameter]) -> tuple[Parameter, ...]:
    # A parameter may depend on one of the base class, which are listed last.
    ordered: list[Parameter] = []
    while parameters:
        waiting = {parameter.name for parameter in parameters}
        ready = next((p for p in parameters if not waiting & p.when.keys()), parameters[0])
        parameters = [parameter for parameter in parameters if parameter is not ready]
        ordered.append(ready)
    return tuple(ordered)
