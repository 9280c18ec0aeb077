"""Chosen columns of trials: as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hpo.cli.answer import print_json_lines
from hpo.cli.console import console
from hpo.cli.listing import print_columns
from hpo.cli.tables import number
from hpo.printable import in_a_line, printable

Table = Mapping[str, Sequence[Any]]  # by name, the values of each trial


def show_columns(table: Table) -> None:
    """Print a row a trial, the parameters without what their names begin with."""
    names = {name: in_a_line(name.removeprefix("params_")) for name in table}
    left = {names[name] for name, values in table.items() if not all(isinstance(v, int | float | None) for v in values)}
    rows = list(zip(*([_cell(value) for value in values] for values in table.values()), strict=True))
    print_columns(list(names.values()), rows, console(), left=left)


def print_csv(table: Table) -> None:
    """A header, and a row a trial, as it is, since programs read it: numbers with all their digits."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(printable, table))
    writer.writerows(zip(*([_csv_cell(value) for value in values] for values in table.values()), strict=True))


def print_json_rows(table: Table) -> None:
    """A list with a mapping a trial."""
    rows = zip(*table.values(), strict=True)
    print_json_lines({name: _json(value) for name, value in zip(table, row, strict=True)} for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return number(value)


def _json(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else _moment(value)


def _csv_cell(value: Any) -> Any:
    """Texts without what steers a terminal."""
    value = _moment(value)
    return "" if value is None else value if isinstance(value, int | float) else printable(str(value))


def _moment(value: Any) -> Any:
    """A time as in the JSON of a trial, with its zone; anything else as it is."""
    return value.isoformat(timespec="milliseconds") + "Z" if isinstance(value, datetime) else value
