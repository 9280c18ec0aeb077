"""What `hpo importance` prints: a row a parameter, and whether there are enough trials to tell."""

from __future__ import annotations

from hpo.cli.console import Text, console
from hpo.cli.listing import print_named_rows
from hpo.cli.plot import bar
from hpo.printable import counted, in_a_line
from hpo.report.importances import Importances


def show_importances(found: Importances) -> None:
    """Print them."""
    out = console()
    if found.parameters:
        rows = [
            [
                in_a_line(one.name),
                f"{one.value:.0%}",
                f"{one.low:.0%} to {one.high:.0%}",
                one.matters,
                bar(one.value, out),
            ]
            for one in found.parameters
        ]
        headings = ["parameter", "importance", "95 % of resamples", "matters", ""]
        print_named_rows(headings, rows, out, narrower=(headings[:3], [row[:3] for row in rows]))
        equal = f"{1 / len(found.parameters):.0%}"
        text = (
            f"By the best {found.best:,} of {counted(found.trials, 'complete trial')} (PED-ANOVA). A parameter matters "
            f"where 95 % of the resamples give it more than an equal share, {equal}"
        )
        out.print(Text(text))
    if found.remark is not None:
        out.print(Text(f"{in_a_line(found.study)}: {found.remark}"))
