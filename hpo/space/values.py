"""Plain values: the types that a parameter can have, and their equality."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeGuard

Value = str | int | float | bool | None


def is_plain(value: object) -> TypeGuard[Value]:
    """Whether the value can be stored unchanged: a text, a finite number, a boolean or None."""
    return type(value) in (str, int, bool, type(None)) or (type(value) is float and math.isfinite(value))


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether the value is a number; a boolean does not count as one, although it is an int in Python."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def simplified(value: object) -> object:
    """The value in Python's own types: a YAML reader uses subclasses of them that keep the notation."""
    if isinstance(value, Mapping):
        return {simplified(key): simplified(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [simplified(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def same(a: object, b: object) -> bool:
    """Equality that distinguishes True from 1 and 1 from 1.0."""
    return type(a) is type(b) and a == b


def among(value: object, values: Iterable[object]) -> bool:
    """Whether one of the values is the `same`."""
    return any(same(value, other) for other in values)
