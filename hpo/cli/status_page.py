"""What `hpo status` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpo.cli.console import Text, console
from hpo.cli.tables import number, params_in_words, print_facts
from hpo.printable import counted, duration, duration_between, in_a_line

if TYPE_CHECKING:
    from hpo.results.kept import KeptCheckpoints
    from hpo.results.live import LiveTrial, LiveView
    from hpo.results.status import StudyStatus


def show_status(study: StudyStatus, kept: KeptCheckpoints, live: LiveView) -> None:
    """Print a study's progress, its best trial, its limits, its checkpoints, its workers, and what their slots do."""
    out = console()
    counts = ", ".join(f"{count} {state}" for state, count in study.counts.items() if count)
    budget = study.budget["trials"]
    reason = f" ({study.reason.splitlines()[0]})" if study.reason else ""
    out.print(Text(f"{in_a_line(study.study)}: {study.state}{reason}"))
    asked = f" of {int(budget['target'])}" if budget.get("target") else ""  # another program's study has no target
    facts = [("trials:", f"{int(budget['spent'])}{asked}" + (f": {counts}" if counts else ""))]
    if study.foreign:
        facts.append(("beside:", f"{study.foreign} of another program, which spend nothing of the budget"))
    if study.best is not None:
        remark = f", {study.best.remark}" if study.best.remark else ""
        params = f" ({params_in_words(study.best.params)})" if study.best.params else ""
        facts.append(("best:", f"{number(study.best.value)} by trial {study.best.number}{remark}{params}"))
    if study.on_front:
        advice = f"'hpo pareto {in_a_line(study.study)}' shows it"
        facts.append(("front:", f"{counted(study.on_front, 'trial')}; {advice}"))
    limits = [f"{name} {_of_limit(part)}" for name, part in study.budget.items() if name != "trials"]
    if limits:
        facts.append(("limits:", ", ".join(limits)))
    if kept.trials:
        facts.append(("keeps:", f"the checkpoints of {kept}"))
    if study.notifications is not None:
        facts.append(("told:", f"notifications: {study.notifications}"))
    left = live.studies[0].seconds_left
    if left is not None:
        facts.append(("left:", f"about {duration_between(*left)}"))
    if study.waiting_for:
        facts.append(("waits:", study.waiting_for))
    for worker in study.workers:
        facts.append(
            (
                "worker:",
                f"{in_a_line(worker.name)}, {worker.running} of {counted(worker.slots, 'slot')} on this study, "
                f"last seen {worker.seconds_since_beat:.0f} s ago",
            )
        )
    facts += [("slot:", _of_slot(trial)) for trial in live.trials]
    print_facts([(f"{name:<7}", text) for name, text in facts], out)


def _of_slot(trial: LiveTrial) -> str:
    """`here:1 slot 0: trial 3 at epoch 4 of 27, val_loss 0.25, for 12 s on cuda:0`."""
    reached = f"{trial.unit} {trial.epoch}" + ("" if trial.max_epochs is None else f" of {trial.max_epochs}")
    value = "" if trial.value is None else f", {in_a_line(trial.metric or 'value')} {number(trial.value)}"
    asked = "" if trial.request is None else f", asked to {trial.request}"
    device = "" if trial.device is None else f" on {in_a_line(trial.device)}"
    where = f"{in_a_line(trial.worker)} slot {trial.slot}"
    return f"{where}: trial {trial.number} at {reached}{value}, for {duration(trial.seconds)}{device}{asked}"


def _of_limit(part: Mapping[str, float]) -> str:
    """`0.02 of 0.1`: what is spent of a limit, or reached."""
    return f"{number(part['spent'])} of {number(part['target'])}" if "spent" in part else number(part["target"])
