"""Tables of studies and trials, as the reading verbs print them: whole at any width, without lines cut off."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table

from hpo.cli.console import Console, Text, console
from hpo.cli.listing import LEFT_ALIGNED, print_listing, print_named_rows
from hpo.printable import in_a_line, with_margin
from hpo.space.values import label_of_value
from hpo.study.length import Unit
from hpo.study.states import TrialState

if TYPE_CHECKING:
    from hpo.results.status import StudyStatus
    from hpo.results.trial import TrialRecord

ANY_WIDTH = 10_000

SHOWN_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING)


def number(value: Any) -> str:
    """Four significant digits for a float, a list or mapping as `[64, 64]`, everything else as it is."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else in_a_line(str(label_of_value(value)))


def fits(table: Table, out: Console) -> bool:
    """Whether each row of the table has room on one line."""
    return Measurement.get(out, out.options.update(max_width=ANY_WIDTH), table).maximum <= out.width


def print_facts(facts: Sequence[tuple[str, str]], out: Console, *, indent: int = 0) -> None:
    """Print a name and a text a line; the lines of a long text stand below each other."""
    grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for name, text in facts:
        grid.add_row(name, Text(text))
    out.print(Padding(grid, (0, 0, 0, indent), expand=False))


def print_best(records: Sequence[TrialRecord], out: Console, *, objectives: Sequence[str] = ()) -> None:
    """Print the trials, best first: a column a parameter where there is room, else the parameters below the numbers.

    Args:
        objectives: the names of several, for a column each.
    """
    names = list(dict.fromkeys(name for record in records for name in record.params))
    has_remarks = any(record.remark for record in records)
    expected = ["expected"] if any(record.expected is not None for record in records) else []
    values = objectives if len(objectives) > 1 else ("value",)
    headings = ("trial", *map(in_a_line, values), *expected, str(_unit_of(records)), "seconds")
    headings += ("trained",) if has_remarks else ()
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in LEFT_ALIGNED else "right", no_wrap=True)
    for name in names:
        table.add_column(in_a_line(name))
    rows = [_best_numbers(record, len(values), has_remarks=has_remarks) for record in records]
    for record, row in zip(records, rows, strict=True):
        table.add_row(*row, *(number(record.params.get(name)) for name in names))
    if fits(table, out):
        out.print(table)
    else:
        print_listing(headings, rows, [_params_in_pieces(record.params) for record in records], out, about="parameters")


def params_in_words(params: Mapping[str, Any]) -> str:
    """`lr=0.001, depth=2`."""
    return " ".join(_params_in_pieces(params))


def _params_in_pieces(params: Mapping[str, Any]) -> list[str]:
    """The same in pieces, none of which should be broken."""
    pieces = [f"{_name(name)}={number(value)}" for name, value in params.items()]
    return [f"{piece}," for piece in pieces[:-1]] + pieces[-1:]


_name = functools.lru_cache(1024)(in_a_line)  # the same few in each of thousands of trials


def _unit_of(records: Sequence[TrialRecord]) -> Unit:
    """What the trials of a study are counted in; one that has not begun does not know it."""
    return Unit.STEP if any(record.unit == Unit.STEP for record in records) else Unit.EPOCH


def _best_numbers(record: TrialRecord, columns: int, *, has_remarks: bool) -> tuple[str, ...]:
    value = number(record.value) if len(record.values) < 2 else ", ".join(map(number, record.values))
    values = tuple(map(number, record.values)) if columns > 1 else (value,)
    expected = [] if record.expected is None else [expected_in_words(record)]
    numbers = str(record.number), *values, *expected, number(record.best_epoch), number(record.seconds)
    return (*numbers, in_a_line(record.remark or "to its end")) if has_remarks else numbers


def expected_in_words(record: TrialRecord) -> str:
    """`0.981 ± 0.004`, with the half of its interval."""
    assert record.expected is not None
    return with_margin(record.expected, (record.expected_high or 0.0) - record.expected)


def show_best(
    records: Sequence[TrialRecord],
    study: str,
    *,
    objectives: Sequence[str] = (),
    is_narrowed: bool = False,
    are_infeasible: bool = False,
) -> None:
    """Print the best trials, with their parameters.

    Args:
        objectives: the names of several.
        is_narrowed: only some of the study's trials were asked for.
        are_infeasible: there is none, but the study has trials with a value that violate a constraint.
    """
    if not records:
        name, such = in_a_line(study), "such trial with a value" if is_narrowed else "trial with a value yet"
        such = "trial that satisfies its constraints" if are_infeasible and not is_narrowed else such
        console().print(Text(f"study {name} has no {such}; 'hpo trials {name}' lists those it has"))
        return
    print_best(records, console(), objectives=objectives)


def show_trials(records: Sequence[TrialRecord], study: str, *, is_narrowed: bool = False) -> None:
    """Print each trial: its state, and its parameters and why it ended, below it where there is no room.

    Args:
        is_narrowed: only some of the study's trials were asked for.
    """
    if not records and is_narrowed:
        console().print(Text(f"study {in_a_line(study)} has no such trial"))
        return
    headings = trial_headings(_unit_of(records))
    rows, notes = [_trial_numbers(record) for record in records], [_trial_in_pieces(record) for record in records]
    print_listing(headings, rows, notes, console(), about="parameters, and why it ended")


def trial_headings(unit: Unit) -> tuple[str, ...]:
    """Of the columns of a trial, without its parameters."""
    return "trial", "state", "value", unit.plural, "seconds", "attempts", "device"


def _trial_numbers(record: TrialRecord) -> tuple[str, ...]:
    return (
        str(record.number),
        record.state,
        number(record.value),
        str(record.epochs),
        number(record.seconds),
        str(record.attempts),
        in_a_line(record.device or "-"),
    )


def _trial_in_pieces(record: TrialRecord) -> list[str]:
    pieces, remark = _params_in_pieces(record.params), record.explanation
    if pieces and remark:
        pieces[-1] += ";"
    pieces += (remark or "").split()
    if record.attempts > 1:
        pieces += f"[{'; '.join(cause or TrialState.RUNNING for cause in record.causes)}]".split()
    return pieces


def show_studies(found: Sequence[StudyStatus]) -> None:
    """Print a row a study; where there is no room, without the numbers of trials in each state."""
    out = console()
    if not found:
        out.print("the store has no studies yet: 'hpo run STUDY.yaml' begins one")
        return
    print_named_rows(*_studies(found, SHOWN_STATES), out, narrower=_studies(found, ()))


def _studies(found: Sequence[StudyStatus], states: Sequence[TrialState]) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows."""
    rows = []
    for study in found:
        counts, budget = study.counts, study.budget["trials"]
        asked = f"{int(budget['spent'])}/{int(budget['target'])}" if budget.get("target") else str(int(budget["spent"]))
        best = number(study.best.value if study.best else None)
        if study.on_front:
            best = f"front of {study.on_front}"
        rows.append([in_a_line(study.study), study.state, asked, *(str(counts[state]) for state in states), best])
    return ["study", "state", "trials", *states, "best"], rows
