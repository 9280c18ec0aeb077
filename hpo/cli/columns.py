"""Chosen columns of trials, as a table or as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table

from hpo.cli.console import Text, console
from hpo.cli.tables import number
from hpo.errors import SpecError, nearest
from hpo.printable import in_a_line, printable

if TYPE_CHECKING:
    from hpo.results.trial import TrialRecord


def show_columns(records: Sequence[TrialRecord], columns: str | None, *, as_csv: bool) -> None:
    """Print a row a trial.

    Args:
        columns: their names, separated by commas; a parameter's own name, or `params_NAME`. By default all.

    Raises:
        SpecError: there is no such column.
    """
    rows = [record.row() for record in records]
    known = list(dict.fromkeys(name for row in rows for name in row))
    chosen = known if columns is None else [_known(name.strip(), known) for name in columns.split(",")]
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(map(printable, chosen))
        writer.writerows([_csv_cell(row.get(name)) for name in chosen] for row in rows)
        return
    table = Table(box=SIMPLE, pad_edge=False)
    for name in chosen:
        is_number = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(in_a_line(name.removeprefix("params_")), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in chosen))
    console().print(table)


def _known(name: str, known: Sequence[str]) -> str:
    for candidate in (name, f"params_{name}"):
        if candidate in known:
            return candidate
    plain = [column.removeprefix("params_") for column in known]
    raise SpecError(f"--columns: there is no column '{name}'{nearest(name, plain) or '.'} There are {', '.join(plain)}")


def _cell(value: Any) -> str:
    return number(value) if value is None or isinstance(value, float) else str(value)


def _csv_cell(value: Any) -> Any:
    """As it is, since programs read it: numbers with all their digits, and texts without what steers a terminal."""
    return "" if value is None else value if isinstance(value, int | float) else printable(str(value))
