"""What a verb says without a table: sentences, questions, JSON, and lines of logs; every text passes `printable`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import typer

from hpo.printable import printable

DELETE = "\x7f"  # the only control that JSON does not escape


def say(text: object, *, err: bool = False, end: str = "\n") -> None:
    """Print a text, and end its line.

    Args:
        err: on stderr, for what is no answer.
        end: empty for a part of a longer text.
    """
    typer.echo(f"{printable(str(text))}{end}", err=err, nl=False)


def confirm(question: str) -> bool:
    """Whether the person at the terminal agrees."""
    return typer.confirm(printable(question))


def print_json(document: Any) -> None:
    """Print one document on stdout; it must not hold NaN, which JSON does not have."""
    typer.echo(_escaped(json.dumps(document, indent=2, allow_nan=False, default=str)))


def print_json_lines(items: Iterable[Any]) -> None:
    """Print one document on stdout, a list with an item a line: of thousands, in a third of the time."""
    before = "[\n"
    for item in items:
        typer.echo(f"{before}  {_escaped(json.dumps(item, allow_nan=False, default=str))}", nl=False)
        before = ",\n"
    typer.echo("[]" if before == "[\n" else "\n]")


def _escaped(text: str) -> str:
    return text.replace(DELETE, "\\u007f")


class LogLines(logging.Formatter):
    """An event begins a line; the further lines of its message are indented, so that none looks like an event."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record)).replace("\n", "\n    ")
