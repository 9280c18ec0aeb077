"""The verb that draws the front of a study of several objectives: pareto."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import JsonOption, ProjectOption, StoreOption, StudyName, open_to_look

if TYPE_CHECKING:
    from hpo.report.axes import Axis
    from hpo.results.pareto import Front

ROWS, LEAST_COLUMNS, MOST_COLUMNS = 16, 20, 76  # of a plot
BEST, OTHER = "o", "."


def pareto(
    study: StudyName,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.svg", help="Draw it into this file as well.")
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the front of a study of several objectives: the trials that no other one beats in all of them."""
    from hpo.errors import SpecError
    from hpo.results.study import Study

    if out is not None and out.suffix.lower() != ".svg":
        raise SpecError(f"-o {out}: a picture of a front is an SVG file: its name ends in .svg")
    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        found = Study(opened, study).front()
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)
    if out is not None:
        from hpo.report.page import picture_of
        from hpo.report.plots_of_search import front
        from hpo.report.writing import write_whole

        if not out.parent.is_dir():
            raise SpecError(f"-o {out}: there is no folder {out.parent}")
        write_whole(out, picture_of(front(found)))
        if not as_json:
            say(f"{out} written")


def _show(found: Front) -> None:
    from hpo.cli.console import Text, console
    from hpo.cli.tables import number, print_best
    from hpo.printable import counted, in_a_line

    name, out = in_a_line(found.study), console()
    if not found.trials:
        say(f"study {name} has no trial with a value yet; 'hpo trials {name}' lists those it has")
        return
    volume = "" if found.hypervolume is None else f", hypervolume {number(found.hypervolume)}"
    behind = counted(len(found.others), "complete trial")
    out.print(Text(f"{name}: {counted(len(found.trials), 'trial')} on the front, {behind} behind it{volume}"))
    for place in range(1, len(found.names)):
        out.print(Text("\n" + "\n".join(_plot(found, place, columns=out.width - 14))), soft_wrap=True)
    print_best(found.trials, out, objectives=found.names)


def _plot(found: Front, place: int, *, columns: int) -> list[str]:
    """Lines: the first objective upwards and another one to the right."""
    from hpo.report.plots_of_search import axes_of_front

    columns = max(LEAST_COLUMNS, min(columns, MOST_COLUMNS))
    x, y = axes_of_front(found, place)
    cells = [[" "] * columns for _ in range(ROWS)]
    for mark, records in ((OTHER, found.others), (BEST, found.trials)):
        for record in records:
            across, up = x.at(record.values[place]), y.at(record.values[0])
            if across is not None and up is not None:
                row, column = _cell(1 - up, ROWS), _cell(across, columns)
                cells[row][column] = mark
    labels = {_cell(1 - at, ROWS): text for at, text in y.ticks(4)}
    margin = max((len(text) for text in labels.values()), default=0)
    lines = [y.name]
    lines += [f"{labels.get(row, ''):>{margin}} |{''.join(line).rstrip()}" for row, line in enumerate(cells)]
    lines += [f"{' ' * margin} +{'-' * columns}", f"{' ' * margin}  {_ticks(x, columns)}"]
    return [*lines, f"{' ' * margin}  {x.name}; {BEST} on the front, {OTHER} behind it"]


def _cell(share: float, cells: int) -> int:
    return min(cells - 1, max(0, round(share * (cells - 1))))


def _ticks(axis: Axis, columns: int) -> str:
    """The texts of an axis's ticks in a line, each where it belongs, without those that have no room."""
    line: list[str] = []
    for at, text in axis.ticks(columns // 12):
        start = max(0, _cell(at, columns) - len(text) // 2)
        if start >= len(line) + bool(line):
            line += [*(" " * (start - len(line))), *text]
    return "".join(line)
