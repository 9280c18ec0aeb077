"""The search space as a table for people."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table

from hpo.cli.console import Text, console
from hpo.space import SearchSpace
from hpo.space.values import label_of_value


def show_space(space: SearchSpace, label: str) -> None:
    """A row a parameter; a sentence when there are none."""
    if not len(space):
        console().print(f"{label} searches nothing: no constructor argument has a range")
        return
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("parameter", "range", "default", "only when", "owner"):
        table.add_column(heading)
    for parameter in space.values():
        default = Text(str(label_of_value(parameter.default)) if parameter.has_default else "-")
        condition = parameter.condition() if parameter.when else ""
        table.add_row(parameter.name, Text(str(parameter.range)), default, Text(condition), parameter.owner)
    console().print(table)
