"""Plots of the final model: its re-runs, its residuals, and how far its confidence can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.report.axes import Axis, axis_of_numbers
from hpo.report.contents import Plot
from hpo.report.plots_of_search import NARROW, SMALL, WIDE
from hpo.report.svg import Drawing
from hpo.results.final import Final


def reruns(final: Final) -> Plot:
    """For each candidate: its score in the search, those of its re-runs with fresh seeds, and their mean."""
    names = {rerun.trial: f"trial {rerun.trial}" for rerun in final.reruns}
    values = [rerun.searched for rerun in final.reruns]
    for rerun in final.reruns:
        values += [score for score in rerun.scores if score is not None]
        mean = rerun.mean
        values += [] if mean is None else [end for end in (mean.value, mean.low, mean.high) if end is not None]
    x = axis_of_numbers(final.metric, values, margin=0.06)
    y = Axis("", choices=tuple(reversed(names.values())))

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, 76 + 34 * len(names), x, y, label=f"{final.metric} of the re-runs")
        for rerun in final.reruns:
            name, mean = names[rerun.trial], rerun.mean
            if mean is not None and mean.low is not None and mean.high is not None:
                drawing.bar((mean.low, name), (mean.high, name), "spread", thickness=14)
            drawing.dots([(score, name) for score in rerun.scores if score is not None], "k-whole", radius=3.5)
            drawing.crosses([(rerun.searched, name)], "k-best", radius=5)
            if mean is not None:
                drawing.named_dots([((mean.value, name), f"mean {mean.value:.4g}")], "k-ink", radius=5)
        return drawing

    keys = (
        ("k-best cross", "in the search"),
        ("k-whole dot", "again, with a fresh seed"),
        ("k-ink dot", "their mean"),
        ("spread square", "its 95 % interval"),
    )
    return Plot(draw(WIDE[0]).svg(), draw(NARROW[0]).svg(), keys=keys)


def calibration(found: Mapping[str, Any]) -> Plot:
    """How often predictions of a confidence are right."""
    x, y = Axis("confidence", 0.0, 1.02), Axis("share that is right", 0.0, 1.02)
    points = list(zip(found["confidence"], found["accuracy"], strict=True))
    drawing = Drawing(*SMALL, x, y, label="share that is right, by confidence")
    drawing.line([(0, 0), (1, 1)], "k-guide", width=1)
    drawing.line(points, "k-whole")
    counts = found.get("counts", [0] * len(points))
    named = [(point, f"{count} predictions") for point, count in zip(points, counts, strict=True)]
    drawing.named_dots(named, "k-whole", radius=4)
    caption = f"Confidence in {found.get('of', 'the predicted class')}; on the dashed line, it is exactly right."
    return Plot(drawing.svg(), title="calibration", caption=caption)


def residuals(found: Mapping[str, Any]) -> list[Plot]:
    """Their histogram, and predictions beside the truth."""
    counts, edges = found["histogram"]["counts"], found["histogram"]["edges"]
    x = axis_of_numbers("residual (predicted - true)", edges, margin=0.02)
    y = Axis("number", 0.0, max(counts, default=1) * 1.08 or 1.0, is_whole=True)
    drawing = Drawing(*SMALL, x, y, label="histogram of the residuals")
    for number, count in enumerate(counts):
        drawing.column((edges[number], edges[number + 1]), count, "bar")
    drawing.line([(0.0, 0.0), (0.0, y.high)], "k-guide", width=1)
    plots = [Plot(drawing.svg(), title="residuals")]
    if pairs := found.get("pairs"):
        both = [float(value) for pair in pairs for value in pair]
        axes = [axis_of_numbers(name, both) for name in ("true value", "predicted value")]
        scatter = Drawing(*SMALL, *axes, label="predicted by true values")
        scatter.line([(min(both), min(both)), (max(both), max(both))], "k-guide", width=1)
        scatter.dots([(true, predicted) for true, predicted in pairs], "k-whole", radius=2.2)
        plots.append(Plot(scatter.svg(), title="predicted by true values"))
    return plots
