"""The verb that draws the curves of trials in the terminal: curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import print_json
from hpo.cli.options import JsonOption, ProjectOption, StoreOption, StudyName, open_to_look

if TYPE_CHECKING:
    from hpo.service.curves import Curves


def curve(
    study: StudyName,
    trials: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="[TRIAL ...]", min=0, help="Numbers of trials (default: the best five, and those that run)."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="What is drawn (default: the objective).")
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the curves of trials: the objective, or another metric, after each epoch."""
    from hpo.service.curves import read_curves_of

    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        found = read_curves_of(opened, study, trials or [], metric=metric)
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)


def _show(found: Curves) -> None:
    from hpo.cli.console import Text, console
    from hpo.cli.plot import draw_curves
    from hpo.cli.tables import print_best

    out = console()
    drawn = {f"trial {record.number}": points for record, points in found.curves if points}
    draw_curves(drawn, out, x=found.unit, y=f"{found.metric} of {found.study}")
    print_best([record for record, _ in found.curves], out, objectives=found.objectives)
    without = [str(record.number) for record, points in found.curves if not points]
    if without:
        out.print(Text(f"not drawn, since nothing was logged yet: trial {', '.join(without)}"))
