"""Tables of studies and trials, as the reading verbs print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hpo.space.values import label_of_value
from hpo.study.length import Unit
from hpo.study.states import TrialState

if TYPE_CHECKING:
    from hpo.results.study import StudyStatus
    from hpo.results.trial import TrialRecord

# Without a terminal, a table is as wide as it needs: a pipe has no columns.
WIDTH_WITHOUT_TERMINAL = 1000

SHOWN_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING)


def console() -> Console:
    """The console to print tables to: the terminal, or one that is wide enough for any table."""
    on_terminal = Console()
    return on_terminal if on_terminal.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


def number(value: Any) -> str:
    """Four significant digits for a float, a list or mapping as `[64, 64]`, everything else as it is."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(label_of_value(value))


def print_best(records: Sequence[TrialRecord], out: Console) -> None:
    """Print the trials, best first: a column a parameter where there is room, else all in one."""
    names = list(dict.fromkeys(name for record in records for name in record.params))
    has_remarks = any(record.remark for record in records)
    unit = _unit_of(records)
    wide = _best_table(names, unit=unit, has_remarks=has_remarks)
    for record in records:
        numbers = _best_numbers(record, has_remarks=has_remarks)
        wide.add_row(*numbers, *(Text(number(record.params.get(name))) for name in names))
    if Measurement.get(out, out.options.update(max_width=WIDTH_WITHOUT_TERMINAL), wide).maximum <= out.width:
        out.print(wide)
        return
    narrow = _best_table(["parameters"], unit=unit, has_remarks=has_remarks)
    for record in records:
        narrow.add_row(*_best_numbers(record, has_remarks=has_remarks), Text(params_in_words(record.params)))
    out.print(narrow)


def params_in_words(params: Mapping[str, Any]) -> str:
    """`lr=0.001, depth=2`."""
    return ", ".join(f"{name}={number(value)}" for name, value in params.items())


def _unit_of(records: Sequence[TrialRecord]) -> Unit:
    """What the trials of a study are counted in; one that has not begun does not know it."""
    return Unit.STEP if any(record.unit == Unit.STEP for record in records) else Unit.EPOCH


def _best_table(names: Sequence[str], *, unit: Unit, has_remarks: bool) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("trial", "value", unit, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in ["trained", *names] if has_remarks else names:
        table.add_column(name)
    return table


def _best_numbers(record: TrialRecord, *, has_remarks: bool) -> tuple[str, ...]:
    value = number(record.value) if len(record.values) < 2 else ", ".join(map(number, record.values))
    numbers = str(record.number), value, number(record.best_epoch), number(record.seconds)
    return (*numbers, record.remark or "to its end") if has_remarks else numbers


def show_best(records: Sequence[TrialRecord], study: str) -> None:
    """Print the best trials, with their parameters."""
    if not records:
        console().print(Text(f"study {study} has no trial with a value yet; 'hpo trials {study}' lists those it has"))
        return
    print_best(records, console())


def show_trials(records: Sequence[TrialRecord]) -> None:
    """Print a row a trial: its state, its parameters, and why it ended or failed."""
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("trial", "state", "value", _unit_of(records).plural, "seconds", "attempts", "device"):
        table.add_column(heading, justify="left" if heading in ("state", "device") else "right", no_wrap=True)
    table.add_column("parameters, and why it ended")
    for record in records:
        params = params_in_words(record.params)
        remark = record.explanation
        text = f"{params}; {remark}" if params and remark else remark or params
        if record.attempts > 1:
            text += f" [{'; '.join(cause or TrialState.RUNNING for cause in record.causes)}]"
        table.add_row(
            str(record.number),
            record.state,
            number(record.value),
            str(record.epochs),
            number(record.seconds),
            str(record.attempts),
            record.device or "-",
            Text(text),
        )
    console().print(table)


def show_studies(found: Sequence[StudyStatus]) -> None:
    """Print a row a study."""
    if not found:
        console().print("the store has no studies yet: 'hpo run STUDY.yaml' begins one")
        return
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("study", "state", "trials", *SHOWN_STATES, "best"):
        table.add_column(heading, justify="left" if heading in ("study", "state") else "right", no_wrap=True)
    for study in found:
        counts, budget = study.counts, study.budget["trials"]
        asked = f"{int(budget['spent'])}/{int(budget['target'])}" if budget.get("target") else str(int(budget["spent"]))
        states = (str(counts[state]) for state in SHOWN_STATES)
        table.add_row(Text(study.study), study.state, asked, *states, number(study.best.value if study.best else None))
    console().print(table)


def show_status(study: StudyStatus) -> None:
    """Print a study's progress, its best trial and its workers."""
    out = console()
    counts = ", ".join(f"{count} {state}" for state, count in study.counts.items() if count)
    budget = study.budget["trials"]
    reason = f" ({study.reason.splitlines()[0]})" if study.reason else ""
    out.print(Text(f"{study.study}: {study.state}{reason}"))
    asked = f" of {int(budget['target'])}" if budget.get("target") else ""  # another program's study has no target
    out.print(f"trials:  {int(budget['spent'])}{asked}" + (f": {counts}" if counts else ""))
    if study.foreign:
        out.print(f"beside:  {study.foreign} of another program, which spend nothing of the budget")
    if study.best is not None:
        params = params_in_words(study.best.params)
        remark = f", {study.best.remark}" if study.best.remark else ""
        out.print(Text(f"best:    {number(study.best.value)} by trial {study.best.number}{remark} ({params})"))
    if study.waiting_for:
        out.print(Text(f"waits:   {study.waiting_for}"))
    for worker in study.workers:
        out.print(
            f"worker:  {worker.name}, {worker.running} of {worker.slots} slots on this study, "
            f"last seen {worker.seconds_since_beat:.0f} s ago"
        )
