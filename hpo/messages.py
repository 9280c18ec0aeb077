"""What a trial process may tell its worker. The user's code shares that process, so nothing is taken on trust."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from hpo.channel import Message

SHOWN_CHARACTERS = 100
_LARGEST_WHOLE = 2**31 - 1  # that a database keeps as an integer


def problem_of(message: Message) -> str | None:
    """What is wrong with a trial process's message, in words; None when it can be taken in."""
    kind = message.get("kind")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        return f"a message of no known kind: {_shown(message)}"
    for name, is_fine in fields.items():
        if name not in message:
            return f"a message '{kind}' without '{name}': {_shown(message)}"
        if not is_fine(message[name]):
            return f"a message '{kind}' whose '{name}' cannot be {_shown(message[name])}"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_epoch(value: Any) -> bool:
    return _is_count(value) and value <= _LARGEST_WHOLE


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(told, dict) and all(name in told and is_fine(told[name]) for name, is_fine in _EPOCH.items())
        for told in value
    )


_EPOCH: Mapping[str, Callable[[Any], bool]] = {
    "epoch": _is_epoch,
    "value": lambda value: value is None or _is_number(value),  # None: it was not finite
    "metrics": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "seconds": _is_number,
}
_FIELDS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "started": {
        "model": _is_mapping,
        "data": _is_mapping,
        "parameters": _is_count,
        "from_epoch": _is_epoch,
        "executor": _is_text,
        "curve": _is_curve,
    },
    "training": {},
    "alive": {},
    "epoch": _EPOCH,
    "warning": {"text": _is_text},
    "failed": {"cause": _is_text, "error": _is_text},
    "done": {"takes_another": lambda value: isinstance(value, bool)},
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
