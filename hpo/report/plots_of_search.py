"""Plots of a search: its history, its learning curves, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpo.printable import counted
from hpo.report.axes import Axis, axes_of_parameters, axis_of_numbers, axis_of_objective
from hpo.report.contents import Plot
from hpo.report.importances import Importance
from hpo.report.parallel import Group, one_below_the_other, side_by_side
from hpo.report.reading import Material
from hpo.report.svg import Drawing
from hpo.report.words import shown
from hpo.results.pareto import Front
from hpo.results.trial import TrialRecord
from hpo.study.states import Direction, TrialState

WIDE, NARROW, SMALL = (960.0, 360.0), (360.0, 300.0), (330.0, 230.0)  # of a drawing
MOST_DOTS = 2_000  # trials in a plot
MOST_CURVES = 150  # of each kind
MOST_LINES = 400  # of parallel coordinates
EPOCHS_OF_A_CURVE = 80
MOST_SIDE_BY_SIDE = 16  # vertical axes for which a screen has room
WIDE_FOR_A_FRONT = 30.0  # of the largest to the smallest value, above which its axis is logarithmic
MOST_NAMED = 40  # trials that a pointer can ask for
BEST_LINES = 10  # trials that stand out

Keys = list[tuple[str, str]]  # kinds of marks, and their names

COMPLETE, PRUNED, BEST, FAILED = "k-whole", "k-ended", "k-best", "k-lost"


def history(material: Material) -> Plot | None:
    """The objective of each trial, in their order, and the best so far; None without a value."""
    complete, pruned = material.complete, material.pruned
    if not complete and not pruned:
        return None
    values = [one.value for one in (*complete, *pruned) if one.value is not None]
    numbers = [record.number for record in material.records]
    x = axis_of_numbers("trial", [min(numbers), max(numbers)], is_whole=True, margin=0.02)
    y = axis_of_objective(material.metric, values, material.direction)
    lost = [one.number for one in material.records if one.state == TrialState.FAILED]
    steps, records = _best_so_far(complete, material.direction, last=max(numbers))

    def draw(size: tuple[float, float]) -> Drawing:
        drawing = Drawing(*size, x, y, label=f"{material.metric} of each trial")
        drawing.dots([(one.number, one.value) for one in _some(pruned, MOST_DOTS)], PRUNED, radius=2.5)
        drawing.dots([(one.number, one.value) for one in _some(complete, MOST_DOTS)], COMPLETE)
        drawing.line(steps, BEST, width=2)
        named = [
            ((one.number, one.value), f"trial {one.number}: {shown(one.value)}") for one in _some(records, MOST_NAMED)
        ]
        drawing.named_dots(named, BEST)
        drawing.at_bottom(lost, FAILED)
        return drawing

    keys: Keys = [(f"{COMPLETE} dot", TrialState.COMPLETE)] if complete else []
    keys += [(f"{PRUNED} dot", "pruned, with the best value until then")] if pruned else []
    keys += [(f"{BEST} line", "the best so far")] if steps else []
    keys += [(f"{FAILED} cross", TrialState.FAILED)] if lost else []
    beyond = _beyond([one.value for one in (*complete, *pruned)], y)
    caption = " ".join([*_sampled(max(len(complete), len(pruned)), MOST_DOTS, "trials of each kind"), *beyond])
    return Plot(draw(WIDE).svg(), draw(NARROW).svg(), caption=caption, keys=keys)


def curves(material: Material) -> Plot | None:
    """The objective of each trial by epoch, pruned ones too; None where no trial has a curve."""
    whole = [one for one in material.complete if len(one.curve) > 1]
    ended = [one for one in material.records if one.state != TrialState.COMPLETE and len(one.curve) > 1]
    if not whole and not ended:
        return None
    best = [one for one in material.best if len(one.curve) > 1][:1]
    groups = {
        PRUNED: [material.curve(one) for one in _some(ended, MOST_CURVES)],
        COMPLETE: [material.curve(one) for one in _some(whole, MOST_CURVES)],
        BEST: [material.curve(one) for one in best],
    }
    keys: Keys = [(f"{COMPLETE} line", TrialState.COMPLETE)] if whole else []
    keys += [(f"{PRUNED} line", "pruned, or not at its end")] if ended else []
    keys += [(f"{BEST} line", f"the best, trial {best[0].number}")] if best else []
    caption = " ".join(_sampled(max(len(whole), len(ended)), MOST_CURVES, "curves of each kind"))
    unit = (whole or ended)[0].unit
    return plot_of_curves(
        groups, metric=material.metric, direction=material.direction, unit=str(unit), keys=keys, caption=caption
    )


def plot_of_curves(
    groups: Mapping[str, Sequence[list[tuple[int, float]]]],
    *,
    metric: str,
    direction: Direction,
    unit: str,
    keys: Keys,
    caption: str = "",
) -> Plot | None:
    """Curves of a metric; None without a point.

    Args:
        groups: the curves by the kind of their lines, in the order in which they are drawn.
    """
    thinned = {kind: [_thinned(line) for line in lines] for kind, lines in groups.items()}
    points = [point for lines in thinned.values() for line in lines for point in line]
    if not points:
        return None
    x = axis_of_numbers(unit, [epoch for epoch, _ in points], is_whole=True, margin=0.0)
    y = axis_of_objective(metric, [value for _, value in points], direction)

    def draw(size: tuple[float, float]) -> Drawing:
        drawing = Drawing(*size, x, y, label=f"{metric} by {unit}")
        for kind, lines in thinned.items():
            drawing.lines(lines, kind, width=3 if kind == BEST else 1.2)
            drawing.dots([line[-1] for line in lines if line], kind, radius=2)
        return drawing

    return Plot(draw(WIDE).svg(), draw(NARROW).svg(), caption=caption, keys=keys)


def parallel(material: Material) -> Plot | None:
    """Parallel coordinates of all parameters and the objective; None with fewer than two parameters or trials."""
    names, best = material.parameters, _leading(material)
    trials = [*material.pruned, *material.complete]
    if len(names) < 2 or len(trials) < 2:
        return None
    first = {one.number for one in best}
    axes = [*axes_of_parameters(names, [one.params for one in trials], _space(material)).values()]
    values = [one.value for one in trials if one.value is not None]
    axes.append(axis_of_objective(material.metric, values, material.direction))

    def lines(records: Sequence[TrialRecord]) -> list[list[Any]]:
        return [[*(one.params.get(name) for name in names), one.value] for one in records]

    others = [one for one in material.complete if one.number not in first]
    groups = [
        Group(PRUNED, lines(_some(material.pruned, MOST_LINES // 2)), 0.8),
        Group(COMPLETE, lines(_some(others, MOST_LINES // 2)), 0.8),
        Group(BEST, lines(best[::-1]), 1.8),
    ]
    narrow = one_below_the_other(NARROW[0], axes, groups)
    is_wide = len(axes) <= MOST_SIDE_BY_SIDE
    wide = side_by_side(WIDE[0], WIDE[1], axes, groups) if is_wide else one_below_the_other(WIDE[0], axes, groups)
    keys = [
        (f"{BEST} line", f"the best {len(best)}" if len(best) > 1 else "the best"),
        (f"{COMPLETE} line", TrialState.COMPLETE),
    ]
    keys += [(f"{PRUNED} line", TrialState.PRUNED)] if material.pruned else []
    caption = " ".join(_sampled(max(len(material.pruned), len(others)), MOST_LINES // 2, "trials of each kind"))
    return Plot(wide, narrow, caption=caption, keys=keys)


def axes_of_front(found: Front, place: int) -> tuple[Axis, Axis]:
    """Of another objective, to the right, and of the first one, upwards.

    Args:
        place: of the other one.
    """
    names, directions = found.names, found.objectives.directions
    records = [*found.trials, *found.others]
    across = [record.values[place] for record in records]
    is_log = bool(across) and min(across) > 0 and max(across) > WIDE_FOR_A_FRONT * min(across)
    x = axis_of_numbers(f"{names[place]} ({directions[place]})", across, is_log=is_log)
    up = [record.values[0] for record in records]
    return x, axis_of_objective(f"{names[0]} ({directions[0]})", up, directions[0])


def front(found: Front) -> list[Plot]:
    """The first objective against each of the others: the front, and the trials behind it."""
    keys: Keys = [(f"{BEST} dot", "on the front"), (f"{COMPLETE} dot", "behind it")]
    return [
        Plot(_front(found, place, WIDE).svg(), _front(found, place, NARROW).svg(), keys=keys)
        for place in range(1, len(found.names))
    ]


def _front(found: Front, place: int, size: tuple[float, float]) -> Drawing:
    x, y = axes_of_front(found, place)
    best = [((one.values[place], one.values[0]), one) for one in found.trials]
    drawing = Drawing(*size, x, y, label=f"{y.name} by {x.name}")
    drawing.dots([(one.values[place], one.values[0]) for one in _some(found.others, MOST_DOTS)], COMPLETE)
    drawing.line(sorted(point for point, _ in best), BEST, width=1)
    named = [(point, f"trial {one.number}: {', '.join(map(shown, one.values))}") for point, one in best]
    drawing.named_dots(named, BEST)
    return drawing


def slices(material: Material) -> list[Plot]:
    """The objective by each parameter, by name."""
    trials = [*material.pruned, *material.complete]
    if not trials:
        return []
    axes = axes_of_parameters(material.parameters, [one.params for one in trials], _space(material))
    values = [one.value for one in trials if one.value is not None]
    y = axis_of_objective(material.metric, values, material.direction)
    best = _leading(material)
    found = []
    for name, x in axes.items():
        drawing = Drawing(*SMALL, x, y, label=f"{material.metric} by {name}")
        for kind, records in ((PRUNED, material.pruned), (COMPLETE, material.complete), (BEST, best)):
            having = [one for one in _some(records, MOST_DOTS // 2) if name in one.params]
            drawing.dots([(one.params[name], one.value) for one in having], kind, radius=3 if kind == BEST else 2.2)
        found.append(Plot(drawing.svg()))
    return found


def importance_bars(found: Sequence[Importance]) -> Plot:
    """A bar for each parameter, with its spread."""
    shown_ones = found[:30]
    x = Axis("share of the importance of all parameters", 0.0, max(0.05, *(one.high for one in shown_ones)) * 1.04)
    y = Axis("", choices=tuple(one.name for one in reversed(shown_ones)))

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, 66 + 24 * len(shown_ones), x, y, label="importances of the parameters")
        for one in shown_ones:
            drawing.bar((0.0, one.name), (one.value, one.name), "bar", thickness=12)
            drawing.line([(one.low, one.name), (one.high, one.name)], "k-ink", width=1.5)
            drawing.dots([(one.low, one.name), (one.high, one.name)], "k-ink", radius=2)
        equal = 1 / len(found)
        drawing.line([(equal, shown_ones[-1].name), (equal, shown_ones[0].name)], "k-guide", width=1)
        return drawing

    keys = (("bar square", "importance"), ("k-ink line", "95 % of the resamples"), ("k-guide line", "an equal share"))
    more = f"and {counted(len(found) - 30, 'parameter')} of less importance" if len(found) > 30 else ""
    return Plot(draw(WIDE[0]).svg(), draw(NARROW[0]).svg(), caption=more, keys=keys)


def _leading(material: Material) -> list[TrialRecord]:
    """The best complete trials, a tenth of them at most; the best first."""
    ranked = sorted(material.complete, key=lambda one: (material.direction.cost(one.value or 0.0), one.number))
    return ranked[: min(BEST_LINES, max(1, len(ranked) // 10))]


def _best_so_far(
    complete: Sequence[TrialRecord], direction: Direction, *, last: int
) -> tuple[list[tuple[int, float]], list[TrialRecord]]:
    """A line of steps, and the trials that were better than all before."""
    steps: list[tuple[int, float]] = []
    records: list[TrialRecord] = []
    for one in complete:
        assert one.value is not None
        if not records or direction.better(one.value, steps[-1][1]):
            steps += [(one.number, steps[-1][1])] if steps else []
            steps.append((one.number, one.value))
            records.append(one)
    return ([*steps, (last, steps[-1][1])] if steps else []), records


def _space(material: Material) -> Any:
    return None if material.resolved is None else material.resolved.space


def _some(records: Sequence[TrialRecord], most: int) -> Sequence[TrialRecord]:
    """At most so many of them, evenly by number."""
    if len(records) <= most:
        return records
    return [records[int(place * len(records) / most)] for place in range(most)]


def _thinned(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """A curve with at most so many epochs, always with the last."""
    every = -(-len(curve) // EPOCHS_OF_A_CURVE)
    return curve if every <= 1 else [*curve[:-1:every], curve[-1]]


def _sampled(number: int, most: int, what: str) -> list[str]:
    return [f"It shows {most:,} {what} at most, evenly by number."] if number > most else []


def _beyond(values: Sequence[float | None], axis: Axis) -> list[str]:
    outside = sum(value is not None and not axis.low <= value <= axis.high for value in values)
    lie = "lies" if outside == 1 else "lie"
    return [f"{counted(outside, 'trial')} with far worse values {lie} at the edge."] if outside else []
