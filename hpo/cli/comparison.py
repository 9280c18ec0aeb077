"""What `hpo diff` prints of two studies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table

from hpo.cli.console import Text, console
from hpo.cli.tables import number
from hpo.printable import in_a_line

if TYPE_CHECKING:
    from hpo.cli.console import Console
    from hpo.results.comparison import Difference, StudyDifferences

SHOWN_OF_FINGERPRINT = 12  # characters


def show_differences(found: StudyDifferences) -> None:
    """Print a table a part: what it is called, and its values in both studies."""
    out = console()
    names = (in_a_line(found.a), in_a_line(found.b))
    _print_part("study file", found.file, names, out)
    _print_part("search space", found.space, names, out)
    inputs = [type(one)(one.name, _short(one.a), _short(one.b)) for one in found.inputs]
    _print_part("data and code", inputs, names, out)
    _print_part("outcome", found.outcome, names, out)
    _print_part("best trial", found.best, names, out)
    if not (found.file or found.space or found.inputs):
        out.print(Text("Their files, search spaces, data and code are the same, as far as they are known."))
    for remark in found.remarks:
        out.print(Text(remark))


def _print_part(title: str, found: Sequence[Difference], studies: tuple[str, str], out: Console) -> None:
    if not found:
        return
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in (title, *studies):
        table.add_column(Text(heading), overflow="fold")
    for one in found:
        table.add_row(Text(in_a_line(one.name)), Text(_cell(one.a)), Text(_cell(one.b)))
    out.print(table)


def _cell(value: Any) -> str:
    return value.isoformat(" ", "seconds") if isinstance(value, datetime) else number(value)


def _short(fingerprint: str | None) -> str | None:
    return None if fingerprint is None else fingerprint[:SHOWN_OF_FINGERPRINT]
