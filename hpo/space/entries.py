"""The entries of arguments that are mappings or objects with fields, named by a path: `optim.lr`, `config.layers`.

Dataclasses and pydantic's models know their fields; a `dict`, a `Namespace` and what has no hint take any entry.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from hpo.space.constructor import Declared, declared_of

_DEEPEST = 4  # levels of fields: a type may contain itself
_Missing = type(dataclasses.MISSING)
NAMESPACES = (argparse.Namespace, types.SimpleNamespace)


def structure_of(hint: Any, default: Any) -> type[Any] | None:
    """The dataclass or pydantic model that an argument's hint or default names; None if it is another kind."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((kind for kind in (type(default), *members) if _has_fields(kind)), None)


def fields_of(kind: type[Any], instance: Any = None) -> tuple[Declared, ...]:
    """The fields of a dataclass or pydantic model, with the values that an instance has, or else their defaults."""
    found = []
    for name, annotation, default in _fields(kind):
        value = getattr(instance, name, default) if isinstance(instance, kind) else default
        found.append(Declared(name, annotation, value, 0))
    return tuple(found)


def entries_of(target: Callable[..., Any]) -> Iterator[Declared]:
    """The known entries of all arguments of a class, below each of them at any depth, by their paths."""
    for declared in declared_of(target):
        yield from _below(declared, _DEEPEST)


def takes_entries(declared: Declared) -> bool:
    """Whether entries of any name may be given to the argument."""
    if structure_of(declared.hint, declared.default) is not None:
        return False
    default = declared.default if declared.has_default else None
    return default is None or isinstance(default, (Mapping, *NAMESPACES))


def mapping_of(value: Any) -> Mapping[str, Any] | None:
    """The entries of a mapping, a namespace, a dataclass or a pydantic model; None of any other value."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, NAMESPACES):
        return vars(value)
    if _has_fields(type(value)):
        return {name: getattr(value, name) for name, _, _ in _fields(type(value)) if hasattr(value, name)}
    return None


def _below(declared: Declared, levels: int) -> Iterator[Declared]:
    kind = structure_of(declared.hint, declared.default)
    if kind is not None:
        inner = fields_of(kind, declared.default)
    else:
        entries = mapping_of(declared.default) or {}
        inner = tuple(
            Declared(name, inspect.Parameter.empty, value, 0)
            for name, value in entries.items()
            if isinstance(name, str)
        )
    for entry in inner:
        path = dataclasses.replace(entry, name=f"{declared.name}.{entry.name}")
        yield path
        if levels:
            yield from _below(path, levels - 1)


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "model_fields"))


def _fields(kind: type[Any]) -> list[tuple[str, Any, Any]]:
    """(name, annotation, default) of each field that the constructor takes."""
    empty = inspect.Parameter.empty
    if not dataclasses.is_dataclass(kind):  # pydantic, which this need not import
        return [
            (name, info.annotation, empty if info.is_required() else info.get_default(call_default_factory=True))
            for name, info in kind.model_fields.items()
        ]
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception:  # names for the type checker only
        hints = {}
    found = []
    for field in dataclasses.fields(kind):
        # By its type: the dataclass of a notebook is sent with a copy of dataclasses.MISSING.
        default = empty if isinstance(field.default, _Missing) else field.default
        factory: Any = field.default_factory
        if not isinstance(factory, _Missing):
            default = factory()
        if field.init:
            found.append((field.name, hints.get(field.name, Any), default))
    return found
