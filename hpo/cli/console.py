"""The terminal, or the pipe, that tables go to. Text is shown as it is: nothing in it is markup, an emoji or a number.

Rich's own `Text` and `Console` are used here only, which the linter sees to (`banned-api` in pyproject.toml).
"""

from __future__ import annotations

import os
from typing import Any

import rich.console
import rich.text
from rich.style import Style

from hpo.printable import printable

# Of output to a pipe or a file, which has no columns; COLUMNS, where it is set, says another.
WIDTH_WITHOUT_TERMINAL = 100


class Text(rich.text.Text):
    """Text with styles, from which no control reaches the terminal."""

    def __init__(self, text: str = "", style: str | Style = "", **options: Any) -> None:
        super().__init__(printable(text), style, **options)

    def append(self, text: rich.text.Text | str, style: str | Style | None = None) -> Text:
        """Add a text, or a string with its style."""
        super().append(printable(text) if isinstance(text, str) else text, style)
        return self


class Console(rich.console.Console):
    """A terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> rich.text.Text:
        return super().render_str(printable(text), **options)


class Page(Console):
    """Output to a pipe or a file, to be searched or copied: sentences are not broken into lines."""

    def print(self, *objects: Any, **options: Any) -> None:
        is_text = all(isinstance(item, str | Text) for item in objects)
        super().print(*objects, **({"soft_wrap": is_text} | options))


def console() -> Console:
    """The console to print tables to: as wide as the terminal, or as a page."""
    on_terminal = Console()
    is_given = on_terminal.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return on_terminal if is_given else Page(width=WIDTH_WITHOUT_TERMINAL)
