"""The curves of a few trials, as drawings of a page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from hpo.report.contents import Plot
from hpo.report.plots_of_search import BEST, COMPLETE, PRUNED, plot_of_curves
from hpo.report.svg import rounded
from hpo.results.live import LiveTrial
from hpo.results.trial import TrialRecord
from hpo.study.objectives import Objectives
from hpo.study.states import TrialState

Curve = list[tuple[int, float]]

VALUE = "value"  # the only metric in curves of other programs
_SPARK = (112.0, 28.0)  # the size of a small drawing


def metric_of(objectives: Objectives) -> str:
    """The leading objective's name."""
    return objectives.metrics[0] if objectives.metrics else VALUE


def curve_of(record: TrialRecord, metric: str) -> Curve:
    """The metric by epoch, where it was logged."""
    found = ((epoch, metrics.get(metric, metrics.get(VALUE))) for epoch, metrics in record.curve)
    return [(epoch, value) for epoch, value in found if value is not None]


def curves_of_study(best: Sequence[TrialRecord], running: Sequence[LiveTrial], objectives: Objectives) -> Plot | None:
    """The best trials and the last epochs of the running ones; None before an epoch has ended."""
    first, metric = best[:1], metric_of(objectives)
    now = [one for one in running if one.number not in {its.number for its in first}]
    shown = {one.number for one in first} | {one.number for one in now}
    next_best = [one for one in best if one.number not in shown]
    keys = [(f"{BEST} line", f"the best, trial {one.number}") for one in first]
    keys += [(f"{COMPLETE} line", TrialState.RUNNING.value)] if now else []
    keys += [(f"{PRUNED} line", "the next best")] if next_best else []
    groups = {  # the best above the others
        PRUNED: [curve_of(one, metric) for one in next_best],
        COMPLETE: [list(one.curve) for one in now],
        BEST: [curve_of(one, metric) for one in first],
    }
    units = [one.unit for one in best] + [one.unit for one in running]
    return plot_of_curves(
        groups, metric=metric, direction=objectives.first, unit=str(units[0]) if units else "", keys=keys
    )


def curve_of_trial(record: TrialRecord, objectives: Objectives) -> Plot | None:
    """One trial; None before an epoch has ended."""
    metric = metric_of(objectives)
    groups = {BEST: [curve_of(record, metric)]}
    return plot_of_curves(groups, metric=metric, direction=objectives.first, unit=str(record.unit), keys=[])


def spark(values: Sequence[float]) -> Markup:
    """A small line without axes, beside a number that says the rest; empty for fewer than two values."""
    if len(values) < 2:
        return Markup()
    (wide, tall), low, high = _SPARK, min(values), max(values)
    places = (
        f"{rounded(2 + (wide - 4) * place / (len(values) - 1))} "
        f"{rounded(2 + (tall - 4) * (1 - ((value - low) / (high - low) if high > low else 0.5)))}"
        for place, value in enumerate(values)
    )
    return Markup(  # noqa: S704  # of our own numbers
        f'<svg class="spark" viewBox="0 0 {wide:g} {tall:g}" aria-hidden="true">'
        f'<path class="line k-whole" stroke-width="1.5" d="M{"L".join(places)}"/></svg>'
    )
