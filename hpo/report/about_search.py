"""The sections about the search: its best trials, how it went, what mattered, what it took, and what failed."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.printable import counted
from hpo.report import plots_of_search as plots
from hpo.report.accounts import accounts_of, failures_of, interrupted_attempts
from hpo.report.contents import Block, Code, Folded, Plots, Section, Table, Text
from hpo.report.importances import RESAMPLES
from hpo.report.reading import Material
from hpo.report.words import NONE, device_hours, share, shown, span
from hpo.results.pareto import Front
from hpo.results.trial import TrialRecord
from hpo.study.states import OptunaState, TrialState

COLUMNS_OF_PARAMETERS = 5  # best trials whose parameters are compared
TRIALS_NAMED = 8  # of those that failed alike


def best_trials(material: Material) -> Section:
    """The best trials, and their parameters beside each other."""
    best = material.best
    if not best:
        return Section("best", "Best trials", [Text(["No epoch has ended yet."])])
    objectives = material.objectives
    several = objectives.are_several
    unit = best[0].unit
    remarks = any(one.remark for one in best)
    names = list(objectives.metrics) if several and objectives.metrics else ["values" if several else material.metric]
    headings = ["trial", *names, str(unit), f"{unit.plural} trained", "time"]
    rows = [
        [
            str(one.number),
            *_values(one, names, several=several),
            shown(one.best_epoch),
            str(one.epochs),
            span(one.seconds),
            *([one.remark] if remarks else []),
        ]
        for one in best
    ]
    table = Table([*headings, *([""] if remarks else [])], rows, numbers=frozenset(range(4 + len(names))))
    blocks: list[Block] = [table]
    if several:
        found = Front.of(material.name, objectives, material.records)
        told = ["The trials that no other one beats in an objective without losing in another."]
        if found.hypervolume is not None:
            told.append(f"They dominate a hypervolume of {shown(found.hypervolume)}.")
        blocks[:0] = [Text(told), *plots.front(found)]
    if material.undecided is not None:
        blocks.append(Text([f"{material.undecided}."]))
    if material.gain is not None:
        blocks.append(Text([f"{material.gain[0].upper()}{material.gain[1:]}."]))
    if material.parameters:
        compared = best[:COLUMNS_OF_PARAMETERS]
        title = "its parameters" if len(best) == 1 else f"parameters of the best {len(compared)}"
        blocks.append(Folded(title, [_parameters(material, compared)], is_open=True))
    return Section("best", "Best trials", blocks)


def _values(record: TrialRecord, names: Sequence[str], *, several: bool) -> list[str]:
    if not several:
        return [shown(record.value)]
    return [*map(shown, record.values)] if len(names) > 1 else [", ".join(map(shown, record.values))]


def history(material: Material) -> Section | None:
    """The objective of each trial in their order."""
    plot = plots.history(material)
    return None if plot is None else Section("history", "Optimisation history", [plot])


def learning_curves(material: Material) -> Section | None:
    """The objective by epoch, of pruned trials too."""
    plot = plots.curves(material)
    return None if plot is None else Section("curves", "Learning curves", [plot])


def parallel_coordinates(material: Material) -> Section | None:
    """All parameters of all trials."""
    plot = plots.parallel(material)
    return None if plot is None else Section("parallel", "Parallel coordinates", [plot])


def parameter_slices(material: Material) -> Section | None:
    """The objective by each parameter."""
    found = plots.slices(material)
    if not found:
        return None
    keys: plots.Keys = [(f"{plots.BEST} dot", "the best trials"), (f"{plots.COMPLETE} dot", TrialState.COMPLETE)]
    keys += [(f"{plots.PRUNED} dot", TrialState.PRUNED)] if material.pruned else []
    return Section("slices", "Each parameter by itself", [Plots(found, keys)])


def importances(material: Material) -> Section:
    """Which parameters mattered, and how sure that is."""
    found = material.importances
    blocks: list[Block] = [Text([f"{found.remark[0].upper()}{found.remark[1:]}."])] if found.remark else []
    if found.parameters:
        blocks.append(plots.importance_bars(found.parameters))
        rows = [
            [one.name, f"{one.value:.0%}", f"{one.low:.0%} to {one.high:.0%}", one.matters] for one in found.parameters
        ]
        table = Table(["parameter", "importance", "spread", "matters"], rows, frozenset({1, 2}))
        blocks.append(Folded("in numbers", [table]))
        number = counted(found.trials, "complete trial")
        text = (
            f"PED-ANOVA: by how much the values of the best {found.best:,} of {number} differ from those of all, as a "
            f"share of all parameters. Pruned trials do not count. The spread is that of {RESAMPLES} resamples of the "
            "trials; a parameter whose spread covers an equal share cannot be told from the others."
        )
        blocks.append(Text([text]))
    return Section("importances", "Importances of the parameters", blocks)


def time_spent(material: Material) -> Section:
    """What the search took, and what pruning saved."""
    found = accounts_of(material)
    counts = material.status.counts
    rows = [[state, f"{counts.get(state, 0):,}"] for state in TrialState if counts.get(state, 0)]
    by_state = {
        TrialState.COMPLETE: OptunaState.COMPLETE,
        TrialState.PRUNED: OptunaState.PRUNED,
        TrialState.FAILED: OptunaState.FAIL,
    }
    for row in rows:
        seconds = found.by_state.get(str(by_state.get(TrialState(row[0]), "")), 0.0)
        row += [span(seconds) if seconds else NONE, share(seconds, found.spent) if seconds else NONE]
    lines = [f"The search took {device_hours(found.spent)} ({span(found.spent)})"]
    lines[0] += (
        "." if found.elapsed is None else f", and {span(found.elapsed)} from its first trial to the end of its last."
    )
    if found.saved:
        whole = found.spent + found.saved
        lines.append(
            f"Pruning saved about {device_hours(found.saved)} ({span(found.saved)}): {share(found.saved, whole)} of "
            f"what the search would have taken with {counted(found.pruned, 'pruned trial')} trained to the end, each "
            "at its own pace."
        )
    if material.rerun_seconds:
        lines.append(f"The trials that 'hpo finalize' trained took {device_hours(material.rerun_seconds)} more.")
    return Section(
        "time",
        "Time and device-hours",
        [Text(lines), Table(["trials", "number", "device time", "share"], rows, frozenset({1, 2, 3}))],
    )


def failures(material: Material) -> Section | None:
    """The failed trials by cause, and the attempts that were made again; None where everything went well."""
    found, interrupted = failures_of(material), interrupted_attempts(material)
    blocks: list[Block] = []
    if found:
        rows = [[one.cause, f"{len(one.trials):,}", _numbers(one.trials)] for one in found]
        blocks.append(Table(["cause", "number", "trials"], rows, frozenset({1})))
        examples = "\n".join(dict.fromkeys(f"trial {one.trials[0]}: {one.example}" for one in found[:20]))
        blocks.append(Folded("the first error of each cause", [Code(examples)]))
    if interrupted:
        listed = ", ".join(f"{kind} {number:,}" for kind, number in sorted(interrupted.items()))
        blocks.append(Text([f"Attempts that ended early, those that were made again included: {listed}."]))
    return Section("failures", "Failures by cause", blocks) if blocks else None


def _parameters(material: Material, compared: Sequence[TrialRecord]) -> Table:
    space = None if material.resolved is None else material.resolved.space
    headings = ["parameter", *(f"trial {one.number}" for one in compared), *(["searched in"] if space else [])]
    rows = []
    for name in material.parameters:
        range_ = [str(space[name].range) if name in space else NONE] if space else []
        rows.append([name, *(shown(one.params[name]) if name in one.params else NONE for one in compared), *range_])
    return Table(headings, rows, frozenset(range(1, 1 + len(compared))))


def _numbers(trials: Sequence[int]) -> str:
    listed = ", ".join(map(str, trials[:TRIALS_NAMED]))
    return f"{listed}, …" if len(trials) > TRIALS_NAMED else listed
