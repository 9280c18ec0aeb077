"""Exports a class that it imports only when it is asked for, and cannot."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Net":
        from not_there import Net  # type: ignore[import-not-found]

        return Net
    raise AttributeError(name)
