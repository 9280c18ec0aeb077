"""The values that a parameter can have: plain ones, and lists and mappings of them; their equality and their labels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

Scalar = str | int | float | bool | None
Value = str | int | float | bool | list[Any] | dict[str, Any] | None


def is_plain(value: object) -> TypeGuard[Scalar]:
    """Whether Optuna can store the value unchanged: a text, a finite number, a boolean or None."""
    return type(value) in (str, int, bool, type(None)) or (type(value) is float and math.isfinite(value))


def is_value(value: object) -> TypeGuard[Value]:
    """Whether the value is plain, or a list, tuple or mapping of such values."""
    if isinstance(value, list | tuple):
        return all(map(is_value, value))
    if isinstance(value, dict):
        return all(type(key) is str and is_value(item) for key, item in value.items())
    return is_plain(value)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether the value is a number; a boolean does not count as one, although it is an int in Python."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def simplified(value: object) -> Any:
    """The value in Python's own types: a YAML reader uses subclasses of them that keep the notation.

    Tuples become lists, which is what JSON can hold.
    """
    if isinstance(value, Mapping):
        return {simplified(key): simplified(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [simplified(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def label_of_value(value: Value) -> Scalar:
    """The value as Optuna stores it: a list or mapping as its JSON text, such as `[64, 64]`."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def in_words(value: Value) -> str:
    """The value as messages and tables show it: a text in quotes, a list as `[64, 64]`."""
    return str(label_of_value(value)) if isinstance(value, list | dict) else repr(value)


def same(a: object, b: object) -> bool:
    """Equality that distinguishes True from 1 and 1 from 1.0, also within lists and mappings."""
    if type(a) is not type(b):
        return False
    return _by_parts(a, b, same) if isinstance(a, list | dict) else a == b


def equal(a: object, b: object) -> bool:
    """Equality that distinguishes True from 1 but not 1 from 1.0, also within lists and mappings."""
    if isinstance(a, list | dict):
        return type(a) is type(b) and _by_parts(a, b, equal)
    return a == b and isinstance(a, bool) is isinstance(b, bool)


def among(value: object, values: Iterable[object]) -> bool:
    """Whether one of the values is the `same`."""
    return any(same(value, other) for other in values)


def _by_parts(a: Any, b: Any, are_equal: Any) -> bool:
    if len(a) != len(b):
        return False
    if isinstance(a, dict):
        return all(key in b and are_equal(item, b[key]) for key, item in a.items())
    return all(map(are_equal, a, b))
