"""Values as torch reads them with `weights_only`: what can only be read by running code is replaced or left out.

`to_plain` replaces arrays, paths and the like by twins of plain types, and notes where, so that `restore` gives the
original types back. What has no twin (objects, classes, functions) is left out and named.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

Place = tuple[Any, ...]
"""The keys and indices that lead to a value."""

# Read as they are. Subclasses are not: reading them would import their class.
_ATOMS = (bool, int, float, complex, str, bytes, bytearray, torch.dtype, torch.device, torch.Size)
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType)
_LEFT_OUT = object()


@dataclass(frozen=True)
class LeftOut:
    """A value without a plain twin.

    Attributes:
        what: its type, or its name if it is code, for messages.
        is_code: it is a class or function, which is the same in every process that runs the same program.
    """

    place: Place
    what: str
    is_code: bool = False

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place))} ({self.what})"


@dataclass(frozen=True)
class Plain:
    """A value of plain types.

    Attributes:
        twins: [place, type, what its restoring needs] of each value that `restore` gives another type.
    """

    value: Any
    twins: list[list[Any]]
    left_out: list[LeftOut]


def to_plain(value: Any) -> Plain:
    """The value without anything that `torch.load(weights_only=True)` refuses.

    Containers in which nothing is replaced, and tensors, are the same objects, not copies. Subclasses of plain types
    become these: an IntEnum an int, a defaultdict a dict, a named tuple a tuple.
    """
    found = _Conversion()
    plain = found.convert(value, ())
    return Plain(None if plain is _LEFT_OUT else plain, found.twins, found.left_out)


def restore(value: Any, twins: list[list[Any]]) -> Any:
    """The value with its twins replaced by the types that they stand for; containers are changed in place.

    Args:
        twins: as `to_plain` gave them for this value; those that do not fit it are ignored.
    """
    root = [value]
    for place, kind, detail in reversed(twins):  # from the inside out: what holds a twin may be one itself
        owner, last = root, 0
        try:
            for key in place:
                owner, last = owner[last], key
            owner[last] = _RESTORED[kind](owner[last], detail)
        except (LookupError, TypeError, ValueError, AttributeError):
            continue
    return root[0]


@dataclass
class _Conversion:
    twins: list[list[Any]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    open: set[int] = field(default_factory=set)  # the containers around the present value, by id

    def convert(self, value: Any, place: Place) -> Any:
        kind = type(value)
        if kind is bytes and not value:  # which torch writes as a call of `bytes`
            self.twins.append([list(place), "bytes", None])
            return None
        if value is None or kind in _ATOMS:
            return value
        if isinstance(value, torch.Tensor):
            return self._tensor(value, place)
        if isinstance(value, np.generic):
            item = value.item()
            return self._leave_out(value, place) if isinstance(item, np.generic) else self.convert(item, place)
        if isinstance(value, _CODE):
            return self._leave_out(value, place)
        if isinstance(value, bool | int | float | complex | str | bytes):
            base: Any = next(base for base in (int, float, complex, str, bytes) if isinstance(value, base))
            return base.__new__(base, value)
        if isinstance(value, np.ndarray | PurePath | frozenset | deque):
            return self._twin(value, place)
        if not isinstance(value, dict | list | tuple | set):
            return self._leave_out(value, place)
        if id(value) in self.open:
            return self._leave_out(value, place, "it contains itself")
        self.open.add(id(value))
        try:
            return self._mapping(value, place) if isinstance(value, dict) else self._sequence(value, place)
        finally:
            self.open.remove(id(value))

    def _mapping(self, value: dict[Any, Any], place: Place) -> Any:
        converted = {}
        is_same = type(value) in (dict, OrderedDict, Counter)
        for key, item in value.items():
            plain_key = self._key(key, (*place, key))
            if plain_key is _LEFT_OUT:
                is_same = False
                continue
            converted[plain_key] = self.convert(item, (*place, plain_key))
            is_same = is_same and plain_key is key and converted[plain_key] is item
        attributes = vars(value) if type(value) is OrderedDict else {}  # a state dict has `_metadata`
        plain_attributes = {name: item for name, item in attributes.items() if to_plain(item).value is item}
        if is_same and len(plain_attributes) == len(attributes):
            return value
        kept = {key: item for key, item in converted.items() if item is not _LEFT_OUT}
        if not isinstance(value, OrderedDict):
            return Counter(kept) if type(value) is Counter else kept
        ordered = OrderedDict(kept)
        vars(ordered).update(plain_attributes)
        return ordered

    def _key(self, key: Any, place: Place) -> Any:
        before = len(self.twins)
        plain = self.convert(key, place)
        if len(self.twins) > before:  # which `restore` would look for among the values
            del self.twins[before:]
            return self._leave_out(key, place)
        return plain

    def _sequence(self, value: Any, place: Place) -> Any:
        before = len(self.twins)
        converted = [self.convert(item, (*place, index)) for index, item in enumerate(value)]
        if any(item is _LEFT_OUT for item in converted):
            del self.twins[before:]
            return _LEFT_OUT
        if len(self.twins) > before and not isinstance(value, list):
            # Elements of a tuple or set could not be replaced when they are restored.
            self.twins.insert(before, [list(place), "tuple" if isinstance(value, tuple) else "set", None])
            return converted
        if type(value) in (list, tuple, set) and all(a is b for a, b in zip(converted, value, strict=True)):
            return value
        base = next(base for base in (list, tuple, set) if isinstance(value, base))
        return base(converted)

    def _tensor(self, value: torch.Tensor, place: Place) -> Any:
        kind = type(value)
        if kind.__module__.startswith("torch.distributed"):  # sharded: its strategy writes it
            return value
        if torch.nn.parameter.is_lazy(value):
            return self._leave_out(value, place)
        is_bare = not vars(value) and (value.is_leaf or not value.requires_grad)
        if kind in (torch.Tensor, torch.nn.Parameter) and is_bare:
            return value
        with torch.no_grad():
            return value.detach().as_subclass(torch.Tensor)

    def _twin(self, value: Any, place: Place) -> Any:
        if isinstance(value, np.ndarray):
            return self._array(value, place)
        before = len(self.twins)
        if isinstance(value, PurePath):
            plain, kind, detail = str(value), "path", None
        elif isinstance(value, deque):
            plain, kind, detail = self.convert(list(value), place), "deque", value.maxlen
        else:
            plain, kind, detail = self.convert(list(value), place), "frozenset", None
        if plain is not _LEFT_OUT:
            self.twins.insert(before, [list(place), kind, detail])
        return plain

    def _array(self, value: Any, place: Place) -> Any:
        if value.dtype.names is not None or isinstance(value, np.ma.MaskedArray):
            return self._leave_out(value, place)
        detail = [value.dtype.str, list(value.shape)]
        before = len(self.twins)
        if value.dtype.kind in "mM":  # moments and durations are counted in integers
            plain: Any = torch.tensor(np.ascontiguousarray(value).view(np.int64).reshape(value.shape))
        elif value.dtype.kind in "biufc":
            try:
                plain = torch.tensor(np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape))
            except TypeError:  # such as long doubles
                return self._leave_out(value, place)
        else:
            plain = self.convert(value.ravel().tolist(), place)
        if plain is not _LEFT_OUT:
            self.twins.insert(before, [list(place), "array", detail])
        return plain

    def _leave_out(self, value: Any, place: Place, why: str = "") -> object:
        is_code = isinstance(value, _CODE)
        kind = value if is_code else type(value)
        module, name = getattr(kind, "__module__", None), getattr(kind, "__qualname__", repr(kind))
        named = name if module in (None, "builtins") else f"{module}.{name}"
        what = f"the {'class' if isinstance(value, type) else 'function'} {named}" if is_code else named
        self.left_out.append(LeftOut(place, f"{what}, {why}" if why else what, is_code))
        return _LEFT_OUT


def _to_array(plain: Any, detail: list[Any]) -> Any:
    dtype, shape = np.dtype(detail[0]), tuple(detail[1])
    if isinstance(plain, torch.Tensor):
        array = plain.numpy().reshape(shape)
        return array.view(dtype) if dtype.kind in "mM" else array.astype(dtype, copy=False)
    array = np.empty(len(plain), dtype)
    array[:] = plain
    return array.reshape(shape)


_RESTORED: Mapping[str, Callable[[Any, Any], Any]] = {
    "array": _to_array,
    "bytes": lambda _, __: b"",
    "path": lambda plain, _: Path(plain),
    "deque": deque,
    "frozenset": lambda plain, _: frozenset(plain),
    "tuple": lambda plain, _: tuple(plain),
    "set": lambda plain, _: set(plain),
}
