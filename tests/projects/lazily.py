"""Exports a class lazily, whose import fails."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Net":
        from not_there import Net  # type: ignore[import-not-found]

        return Net
    raise AttributeError(name)
