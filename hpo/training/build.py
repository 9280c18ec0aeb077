"""Builds a study's classes from the plain arguments of its file.

- `{class: package.module:Class, width: 3}` is an object of that class, also inside a list or mapping.
- A mapping is a dataclass, pydantic model or namespace, and a list a tuple, where the hint or the default is one.
- `optim.lr` is an entry of the argument `optim`, of which the trial gets a copy with this entry replaced.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from hpo.errors import LoadError, nearest
from hpo.ipc.channel import Message
from hpo.loading import is_object, load_class
from hpo.space.constructor import declared_of
from hpo.space.entries import NAMESPACES, fields_of, mapping_of, structure_of

_ABSENT = inspect.Parameter.empty


class _Entries(dict[str, Any]):
    """Values for some entries of an argument; the others stay as they are."""


def build(
    cls: type[Any], arguments: Message, project: Path, *, where: str = "", given: Mapping[str, Any] | None = None
) -> Any:
    """An instance of a class that a study names.

    Args:
        given: arguments of any type that the data module gave, which are passed as they are.
        project: folder that the classes of nested objects are imported from.
        where: the class's place in the study file, such as `model.net`; empty for the model and the data themselves.

    Raises:
        LoadError: its constructor, or one of the nested objects', does not take these arguments.
    """
    made = made_arguments(cls, arguments, project, where=where) | dict(given or {})
    try:
        signature = inspect.signature(cls)
    except ValueError:  # written in C
        signature = None
    try:
        if signature is not None:
            signature.bind(**made)
    except TypeError as error:
        raise LoadError(f"{f'{where}: ' if where else ''}{cls.__name__}: {error}") from error
    return cls(**made)


def made_arguments(cls: type[Any], arguments: Message, project: Path, *, where: str = "") -> dict[str, Any]:
    """The arguments of a class's constructor with the objects that they describe; see `build`.

    Raises:
        LoadError: a nested object's constructor does not take its arguments.
    """
    declared = {one.name: one for one in declared_of(cls)}
    made = {}
    for name, value in _with_entries(arguments).items():
        hint, default = (declared[name].hint, declared[name].default) if name in declared else (_ABSENT, _ABSENT)
        maker = _Maker(project, f"{where}.{name}" if where else name)
        made[name] = maker.make(value, hint, default)
    return made


def built(value: Any, project: Path, *, where: str) -> Any:
    """A value of a study file with the objects that it describes.

    Raises:
        LoadError: a class cannot be imported, or does not take its arguments.
    """
    return _Maker(project, where).make(value, _ABSENT, _ABSENT)


def complete_arguments(cls: type[Any], arguments: Message) -> dict[str, Any]:
    """All arguments of the call, including defaults, as plain as they can be; entries are in their mappings."""
    declared = {one.name: one for one in declared_of(cls)}
    complete = {name: _plain_form(one.default) for name, one in declared.items() if one.has_default}
    for name, value in _with_entries(arguments).items():
        hint, default = (declared[name].hint, declared[name].default) if name in declared else (_ABSENT, _ABSENT)
        whole = _whole(value, hint, default)
        if is_plain(whole) or not isinstance(value, _Entries):
            complete[name] = whole
        else:  # rebuilt from the default, which JSON cannot hold
            complete.pop(name, None)
            complete |= {path: item for path, item in arguments.items() if path.startswith(f"{name}.")}
    return complete


def _whole(value: Any, hint: Any, default: Any) -> Any:
    """The value with the entries of the default that it leaves as they are, in its plain form."""
    kind = structure_of(hint, default)
    if kind is not None and isinstance(value, Mapping) and not is_object(value):
        fields = {field.name: field for field in fields_of(kind, default)}
        whole = {name: _plain_form(field.default) for name, field in fields.items() if field.has_default}
        known = {name: item for name, item in value.items() if name in fields}
        return whole | {name: _whole(item, fields[name].hint, fields[name].default) for name, item in known.items()}
    if isinstance(value, _Entries):
        return _merged({} if default is _ABSENT else _plain_form(default), value)
    return _plain_form(value)


def is_plain(value: Any) -> bool:
    """Whether JSON can hold the value."""
    if isinstance(value, list | tuple):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Makes the value of one place in a study file."""

    project: Path
    where: str

    def make(self, value: Any, hint: Any, default: Any) -> Any:
        """The value in the type that the hint or the default asks for."""
        kind = structure_of(hint, default)
        if isinstance(value, _Entries) and kind is None:
            value = self._copy_with(default, value)
        if is_object(value):
            return self._object(value)
        if isinstance(value, Mapping) and kind is not None:
            return self._structure(kind, default, value)
        if isinstance(value, Mapping):
            made = {
                key: self._below(key).make(item, _item_hint(hint, 1), _item_default(default, key))
                for key, item in value.items()
            }
            namespace = next((n for n in NAMESPACES if n in _members(hint) or type(default) is n), None)
            if namespace is not None:
                return namespace(**made)
            return made if type(value) is dict else value
        if isinstance(value, list | tuple):
            items = [
                self._below(place).make(item, _item_hint(hint, place), _item_default(default, place))
                for place, item in enumerate(value)
            ]
            is_tuple = any((get_origin(member) or member) is tuple for member in _members(hint))
            is_list = any((get_origin(member) or member) is list for member in _members(hint))
            return tuple(items) if (is_tuple and not is_list) or type(default) is tuple else items
        return value

    def _object(self, value: Mapping[str, Any]) -> Any:
        with self._marking_errors():
            try:
                found = load_class(value["class"], self.project)
            except LoadError as error:
                raise LoadError(f"{self.where}: {error}") from error
            arguments = {key: item for key, item in value.items() if key != "class"}
            return build(found, arguments, self.project, where=self.where)

    def _structure(self, kind: type[Any], default: Any, value: Mapping[str, Any]) -> Any:
        base = copy.deepcopy(default) if isinstance(default, kind) else None
        fields = {field.name: field for field in fields_of(kind, base)}
        with self._marking_errors():
            for key in value.keys() - fields.keys():
                hint = nearest(key, fields) or "."
                raise LoadError(f"{self.where}: {kind.__name__} has no '{key}'{hint} It has {', '.join(fields)}")
            made = {
                key: self._below(key).make(item, fields[key].hint, fields[key].default) for key, item in value.items()
            }
            if base is not None and dataclasses.is_dataclass(base):
                return dataclasses.replace(base, **made)  # type: ignore[type-var]
            kept = {} if base is None else {key: getattr(base, key) for key in fields}
            try:
                return kind(**(kept | made))
            except (TypeError, ValueError) as error:  # a field is missing; pydantic refuses a value
                raise LoadError(f"{self.where}: {kind.__name__}: {error}") from error

    def _copy_with(self, default: Any, entries: _Entries) -> Any:
        base = {} if default is None or default is _ABSENT else default
        try:
            return _merged(copy.deepcopy(base), entries)
        except TypeError as error:
            with self._marking_errors():
                raise LoadError(f"{self.where}: {error}") from None

    def _below(self, key: object) -> _Maker:
        return _Maker(self.project, f"{self.where}.{key}")

    @contextlib.contextmanager
    def _marking_errors(self) -> Iterator[None]:
        """Mark errors with the place in the study file that they are of; the innermost place counts."""
        try:
            yield
        except BaseException as error:
            if not hasattr(error, "place"):
                error.place = self.where  # type: ignore[attr-defined]
            raise


def _with_entries(arguments: Message) -> dict[str, Any]:
    """The arguments by their names without dots: an argument is its value, or the `_Entries` that are given of it."""
    found = {name: value for name, value in arguments.items() if "." not in name}
    for path, value in arguments.items():
        name, _, rest = path.partition(".")
        if rest:
            nested: Any = value
            for key in reversed(rest.split(".")):
                nested = _Entries({key: nested})
            found[name] = _merged(found[name], nested) if name in found else nested
    return found


def _merged(base: Any, entries: _Entries) -> Any:
    """A copy of the base with these entries replaced.

    Raises:
        TypeError: it has no entries.
    """
    if base is None:
        base = {}
    if isinstance(base, NAMESPACES):
        return type(base)(**_merged(vars(base), entries))
    if not isinstance(base, Mapping):
        raise TypeError(f"{base!r} has no entries, so there is no '{next(iter(entries))}'")
    whole: Any = copy.copy(base)
    for key, value in entries.items():
        if isinstance(value, _Entries) and key in whole:
            whole[key] = _merged(whole.get(key), value)
        else:
            whole[key] = _alike(value, whole.get(key))
    return whole


def _alike(value: Any, before: Any) -> Any:
    """A list as a tuple where it replaces one, at any depth."""
    if not isinstance(value, list):
        return value
    items = [_alike(item, _item_default(before, i)) for i, item in enumerate(value)]
    return tuple(items) if type(before) is tuple else items


def _plain_form(value: Any) -> Any:
    """A dataclass, pydantic model or namespace as a mapping, if its entries are plain; other values as they are."""
    entries = mapping_of(value)
    if entries is None or isinstance(value, Mapping):
        return value
    whole = {key: _plain_form(item) for key, item in entries.items()}
    return whole if is_plain(whole) else value


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _item_hint(hint: Any, position: int) -> Any:
    """The hint of the items of a list or tuple, or of the values of a mapping."""
    for member in _members(hint):
        inner = [item for item in get_args(member) if item is not Ellipsis]
        if inner and get_origin(member) is not None:
            return inner[min(position, len(inner) - 1)]
    return _ABSENT


def _item_default(default: Any, key: Any) -> Any:
    """The item of a default that tells which type a given item has; of a longer list, the last one."""
    found: Any = _ABSENT
    if isinstance(default, list | tuple) and default and isinstance(key, int):
        found = default[min(key, len(default) - 1)]
    elif isinstance(default, dict):
        found = default.get(key, _ABSENT)
    return found if isinstance(found, dict | list | tuple) else _ABSENT
