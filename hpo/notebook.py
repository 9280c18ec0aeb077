"""What a notebook's cell shows: tables as HTML, without a script, in colours that follow a light or a dark page.

Names, values and errors come from users and stores: each is escaped, and its controls are written out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from hpo.printable import in_a_line

LONGEST = 200  # characters of a value
MOST_ROWS = 20  # of a table

_CELL = "padding:0.15em 0.8em 0.15em 0;vertical-align:top;background:none;border:none"
_HEADING = f"text-align:left;font-weight:600;opacity:0.75;{_CELL}"


def in_kernel() -> bool:
    """Whether this process is the kernel of a notebook: Jupyter's, VS Code's or Colab's, but no terminal's IPython."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def cell(value: Any) -> Markup:
    """One value: numbers with four digits, and texts on a line."""
    if value is None:
        return Markup("-")
    if isinstance(value, float):
        return escape(f"{value:.4g}")
    if isinstance(value, datetime):
        return escape(value.isoformat(" ", "seconds"))
    words = in_a_line(str(value))
    return escape(words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}")


def line(words: Any, *, is_title: bool = False) -> Markup:
    """A line of text."""
    weight = "600" if is_title else "400"
    return Markup('<div style="font-weight:{};margin:0.2em 0">{}</div>').format(weight, cell(words))


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, number: int = 0) -> Markup:
    """The first rows under headings, and how many more there are; what is markup already stays markup.

    Args:
        number: of all rows, where `rows` are the first ones.
    """
    head = _row(Markup('<th style="{}">{}</th>').format(_HEADING, cell(heading)) for heading in headings)
    body = [_row(map(_data, row)) for row in rows[:MOST_ROWS]]
    left = max(number, len(rows)) - len(body)
    return _table(head, *body) + (line(f"and {left:,} more") if left else Markup())


def facts(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """A row for each name and its value; those without a value are left out."""
    rows = [
        _row([Markup('<th style="{}">{}</th>').format(_HEADING, cell(name)), _data(value)])
        for name, value in pairs
        if value not in (None, "")
    ]
    return _table(*rows) if rows else Markup()


def bar(share: float) -> Markup:
    """A bar of which so much is filled, from 0 to 1."""
    done = Markup('<div style="width:{:.1f}%;height:100%;background:#2a7fbf"></div>').format(100 * share)
    return Markup('<div style="width:16em;height:0.7em;background:rgba(128,128,128,0.3)">{}</div>').format(done)


def block(*parts: str) -> Markup:
    """All of it, as `_repr_html_` returns it; a part that is no markup is text."""
    return Markup('<div style="color:inherit;overflow-x:auto">{}</div>').format(Markup().join(parts))


def _table(*rows: Markup) -> Markup:
    return Markup('<table style="border-collapse:collapse;margin:0.3em 0;border:none">{}</table>').format(
        Markup().join(rows)
    )


def _row(cells: Iterable[Markup]) -> Markup:
    return Markup('<tr style="background:none">{}</tr>').format(Markup().join(cells))


def _data(value: Any) -> Markup:
    shown = value if isinstance(value, Markup) else cell(value)
    return Markup('<td style="text-align:left;{}">{}</td>').format(_CELL, shown)
