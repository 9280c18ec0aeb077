"""Which arguments a constructor takes by name, also those that reach a base class through `**kwargs`.

A constructor that passes its `**kwargs` to a base class (`super().__init__(**kwargs)`) takes that one's arguments too,
so a shared base class can declare the parameters that all models have. One that keeps them for itself
(`self.save_hyperparameters()`, `kwargs["width"]`) takes any name.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_origin, get_type_hints

from hpo.errors import SpecError

# Their constructors pass everything on, up to object's, which takes nothing.
_FRAMEWORKS = ("torch", "pytorch_lightning", "lightning", "lightning_fabric")


@dataclass(frozen=True)
class Declared:
    """An argument as a constructor declares it; `inspect.Parameter.empty` where it has no annotation or default."""

    name: str
    annotation: Any
    default: Any
    depth: int  # 0 for the constructor itself, 1 for the next one, which takes its **kwargs, ...

    @property
    def has_default(self) -> bool:
        return self.default is not inspect.Parameter.empty

    @property
    def hint(self) -> Any:
        """The annotation without the metadata of `Annotated`."""
        return self.annotation.__origin__ if get_origin(self.annotation) is Annotated else self.annotation

    @property
    def metadata(self) -> tuple[Any, ...]:
        """What `Annotated` adds to the annotation."""
        return self.annotation.__metadata__ if get_origin(self.annotation) is Annotated else ()


def declared_of(target: Callable[..., Any]) -> tuple[Declared, ...]:
    """Every argument that a class or another callable takes by name.

    Raises:
        SpecError: an annotation with a range cannot be evaluated.
    """
    return _read(cast(Hashable, target))[0]


def takes_any_name(target: Callable[..., Any]) -> bool:
    """Whether the constructor also takes arguments of names that no signature has."""
    return _read(cast(Hashable, target))[1]


@functools.cache  # a trial process reads the same classes several times a trial
def _read(target: Any) -> tuple[tuple[Declared, ...], bool]:
    found: dict[str, Declared] = {}
    takes_any = False
    for depth, function in enumerate(_constructors(target)):
        arguments = list(inspect.signature(function).parameters.values())
        for argument in arguments[1:] if isinstance(target, type) else arguments:
            if argument.kind is argument.VAR_KEYWORD:
                takes_any = takes_any or _keeps(function, argument.name, is_last=_is_last(target, function))
            if argument.name in found or argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                continue
            declared = Declared(argument.name, _evaluated(function, argument), argument.default, depth)
            if argument.kind is not argument.POSITIONAL_ONLY:
                found[argument.name] = declared
            elif declared.metadata:
                raise SpecError(f"'{argument.name}' is searched, so it must not be positional-only")
    return tuple(found.values()), takes_any


def _constructors(target: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    if not isinstance(target, type):
        yield target
        return
    for cls in target.__mro__[:-1]:
        init = vars(cls).get("__init__")
        if init is None:
            continue
        if _is_framework(cls) and cls is not target:
            return
        try:
            arguments = inspect.signature(init).parameters.values()
        except ValueError:  # written in C, without a signature
            return
        yield init
        kwargs = [argument.name for argument in arguments if argument.kind is argument.VAR_KEYWORD]
        if not kwargs or not _use_of(init, kwargs[0]).is_passed_on:
            return


def _is_framework(cls: type[Any]) -> bool:
    return cls.__module__.partition(".")[0] in _FRAMEWORKS


def _is_last(target: Any, function: Callable[..., Any]) -> bool:
    """Whether no constructor of the user's follows that could take the rest."""
    if not isinstance(target, type):
        return True
    own = [vars(cls).get("__init__") for cls in target.__mro__[:-1] if not _is_framework(cls)]
    return [init for init in own if init is not None][-1:] == [function]


@dataclass(frozen=True)
class _Use:
    """What a constructor's body does with its `**kwargs`; None where its source cannot be read."""

    is_passed_on: bool  # to a base class
    is_kept: bool | None


def _keeps(function: Callable[..., Any], name: str, *, is_last: bool) -> bool:
    kept = _use_of(function, name).is_kept
    return is_last if kept is None else kept


@functools.cache
def _use_of(function: Callable[..., Any], name: str) -> _Use:
    try:
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # of a notebook, or made at run time
        return _Use(is_passed_on=True, is_kept=None)
    passed = {
        id(keyword.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "__init__"
        for keyword in call.keywords
        if keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == name
    }
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    # Unused, it is what self.save_hyperparameters() finds.
    return _Use(is_passed_on=bool(passed), is_kept=not passed or len(uses) > len(passed))


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
