"""What `hpo show` prints of one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table

from hpo.cli.console import Text, console
from hpo.cli.tables import fits, number, params_in_words, print_facts
from hpo.printable import counted, in_a_line
from hpo.study.states import TrialState

if TYPE_CHECKING:
    from hpo.cli.console import Console
    from hpo.results.attempt import AttemptRecord
    from hpo.results.trial import TrialRecord
    from hpo.service.trial_details import TrialDetails

EPOCHS_SHOWN = 15
METRICS_SHOWN = 6


def show_trial(details: TrialDetails) -> None:
    """Print the facts, the attempts, the curve, the error, the end of the log, and the files."""
    out, record = console(), details.record
    out.print(Text(f"{in_a_line(details.study)}, trial {record.number}: {record.state}", style="bold"))
    print_facts([(f"{name:<10}", text) for name, text in _facts(record)], out, indent=2)
    if details.attempts:
        out.print(_attempts(details.attempts, record.unit))
    if record.curve:
        _print_curve(record, out)
    if record.error:
        out.print(Text(f"Error:\n{record.error.rstrip()}\n"))
    _print_files(details, out)


def _facts(record: TrialRecord) -> list[tuple[str, str]]:
    found = [("value", f"{number(record.value)} after {record.unit} {record.best_epoch}" if record.best_epoch else "-")]
    total = "" if record.max_epochs is None else f" of {record.max_epochs}"
    found.append((record.unit.plural, f"{record.epochs}{total}"))
    if record.explanation:
        found.append(("cause", record.explanation))
    found.append(("parameters", params_in_words(record.params) or "-"))
    for owner in ("model", "data"):
        arguments = {k: v for k, v in record.config.get(owner, {}).items() if k != "class" and k not in record.params}
        if arguments:
            found.append((owner, f"{record.config[owner]['class']}: {params_in_words(arguments)}"))
    if record.memory is not None:
        found.append(("memory", f"{record.memory / 2**20:,.0f} MiB at its peak"))
    if record.violations:
        judged = (f"{name} {_of_bound(part)}" for name, part in record.violations.items())
        found.append(("constraints", "; ".join(judged)))
    if record.config.get("executor"):
        found.append(("executor", record.config["executor"]))
    return found + _provenance(record.provenance or {})


def _of_bound(violation: float) -> str:
    return f"violated by {violation:.2g} times its bound" if violation > 0 else "satisfied"


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where it was trained, and from what."""
    if not provenance:
        return []
    cores, ranks = counted(provenance["threads"], "thread"), provenance["ranks"]
    each = cores if ranks == 1 else f"{ranks} processes of {cores} each"
    words = {True: ", with changes that are in no commit", False: "", None: ", perhaps with changes"}
    found = [
        ("seed", str(provenance["seed"])),
        ("device", f"{provenance['device']}, {each}, {provenance['precision']}; {provenance['platform']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())),
    ]
    if provenance["commit"]:
        found.append(("commit", provenance["commit"] + words[provenance["dirty"]]))
    marks = {name.removeprefix("data "): mark for name, mark in provenance["data"].items()}
    if marks:
        found.append(("data files", ", ".join(f"{in_a_line(name)} ({mark[:12]})" for name, mark in marks.items())))
    if provenance["code"]:
        found.append(("code", provenance["code"][:12]))
    changes = [
        f"attempt {change['attempt']}: {'; '.join(change['differs'])}" for change in provenance.get("changes", [])
    ]
    return found + ([("changed", ". ".join(changes))] if changes else [])


def _attempts(attempts: Sequence[AttemptRecord], unit: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    numbers = ("attempt", f"from {unit}", "seconds")
    for heading in (*numbers, "device", "worker", "ended"):
        is_number = heading in numbers
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for attempt in attempts:
        table.add_row(
            str(attempt.number),
            number(attempt.from_epoch),
            number(attempt.seconds),
            attempt.device or "-",
            attempt.worker,
            Text(TrialState.RUNNING if attempt.end is None else attempt.cause or attempt.end),
        )
    return table


def _print_curve(record: TrialRecord, out: Console) -> None:
    """The metrics by epoch: of a long curve, about as many epochs as fit, and always the best and the last."""
    every = max(1, -(-len(record.curve) // EPOCHS_SHOWN))
    shown = [
        (epoch, metrics)
        for place, (epoch, metrics) in enumerate(record.curve, start=1)
        if place % every == 0 or epoch in (record.best_epoch, record.epochs)
    ]
    names = list(dict.fromkeys(name for _, metrics in shown for name in metrics))
    count = min(len(names), METRICS_SHOWN)
    while not fits(_curve(record, shown, names[:count]), out) and count > 1:
        count -= 1
    out.print(_curve(record, shown, names[:count]))
    if names[count:]:
        out.print(Text(f"  and {', '.join(names[count:])}, which --json prints\n"))


def _curve(record: TrialRecord, shown: Sequence[tuple[int, Mapping[str, Any]]], names: Sequence[str]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in (record.unit, *names):
        table.add_column(in_a_line(heading), justify="right", no_wrap=True)
    for epoch, metrics in shown:
        table.add_row(*_cells(epoch, metrics, names), style="bold" if epoch == record.best_epoch else "")
    return table


def _cells(epoch: int, metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [str(epoch), *(number(metrics.get(name)) for name in names)]


def _print_files(details: TrialDetails, out: Console) -> None:
    if details.folder is None:
        worker = details.record.worker
        out.print("No files on this machine" + (f": it was trained by {worker}" if worker else ""))
        return
    if details.log_end is not None:
        end = "\n".join(f"  {line}" for line in details.log_end)
        verb = f"hpo logs {in_a_line(details.study)} {details.record.number}"
        out.print(Text(f"End of its log ('{verb}' prints it all):\n{end}\n"))
    out.print(Text(f"Files in {details.folder}:"), soft_wrap=True)  # to be copied as one line
    for name, size in details.files.items():
        amount = f"{size / 2**20:8.1f} MiB" if size >= 1 << 20 else f"{size / 2**10:8.1f} KiB"
        out.print(Text(f"  {amount}  {in_a_line(name)}"))
