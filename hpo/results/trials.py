"""Trials as a list, which a notebook shows as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpo.results.trial import TrialRecord

if TYPE_CHECKING:
    from markupsafe import Markup


class Trials(list[TrialRecord]):
    """A list of trials, in the order that was asked for."""

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: the first ones, in a row each."""
        from hpo.notebook import block, line

        return block(table_of_trials(self) if self else line("no trials"))


def table_of_trials(records: Sequence[TrialRecord], objectives: tuple[str, ...] = ()) -> Markup:
    """A row for each of the first trials, as markup.

    Args:
        objectives: the names of several, for a column each.
    """
    from hpo.notebook import MOST_ROWS, table

    shown = records[:MOST_ROWS]
    names = list(dict.fromkeys(name for record in shown for name in record.params))
    number = max((len(record.values) for record in shown), default=1)
    values = objectives or (("value",) if number < 2 else tuple(f"value {place + 1}" for place in range(number)))
    has_expected = any(record.expected is not None for record in shown)
    unit = shown[0].unit if shown else "epoch"
    headings = ["trial", *values, *(["expected"] if has_expected else []), f"best {unit}", "seconds", "", *names]
    rows = [
        [
            record.number,
            *(record.values if len(record.values) == len(values) > 1 else [record.value, *[None] * (len(values) - 1)]),
            *([record.expected] if has_expected else []),
            record.best_epoch,
            record.seconds,
            record.remark or record.state,
            *(record.params.get(name) for name in names),
        ]
        for record in shown
    ]
    return table(headings, rows, number=len(records))
