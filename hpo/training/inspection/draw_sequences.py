"""A picture of sequences: examples of each class, or windows with their forecast; their lengths; the targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpo.training.inspection.draw_series import draw_series
from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Array, Samples
from hpo.training.inspection.style import (
    COLOURS,
    OTHERS,
    PART_COLOURS,
    class_colours,
    draw_class_legend,
    draw_histogram,
    draw_targets,
    round_ticks,
    shortened,
)

EXAMPLES = 9
MOST_DEVIATIONS = 2.5
LINES = 4  # features that are distinguishable as lines; more are shown as a map


def draw_sequences(figure: Figure, layout: Layout, parts: Sequence[Samples]) -> str:
    """Fill the figure; returns its caption."""
    train = parts[0]
    has_classes = layout.has_classes and not layout.is_per_step and train.targets is not None
    rows = _of_each_class(layout, train) if has_classes else _spread(train, 6 if layout.spans else EXAMPLES)
    lengths = layout.length_of(train)
    assert lengths is not None
    grid = figure.add_gridspec(3, 4, width_ratios=[1, 1, 1, 1.15])
    mean, deviation = _moments(layout, train)
    image = None
    first = 3 if layout.spans else 0  # the series takes the first row
    for place, row in enumerate(rows[: EXAMPLES - first], first):
        axes = figure.add_subplot(grid[place // 3, place % 3])
        sequence = train.inputs[layout.main][row, : int(lengths[row])]
        if sequence.shape[1] > LINES:
            image = axes.imshow(
                ((sequence - mean) / deviation).T,
                aspect="auto",
                cmap="cividis",
                interpolation="nearest",
                vmin=-MOST_DEVIATIONS,
                vmax=MOST_DEVIATIONS,
                extent=(0.5, len(sequence) + 0.5, sequence.shape[1] + 0.5, 0.5),
            )
            axes.set_yticks([])
            if place % 3 == 0:
                axes.set_ylabel(f"{sequence.shape[1]} features")
        else:
            for feature in range(sequence.shape[1]):
                axes.plot(np.arange(1, len(sequence) + 1), sequence[:, feature], color=COLOURS[feature], linewidth=1.2)
            _draw_target(axes, layout, train, row, len(sequence))
            _draw_filled(axes, layout, row, sequence)
            _draw_labels(axes, layout, train, row, len(sequence))
            round_ticks(axes.yaxis, 4)
            if place % 3 == 0:
                axes.set_ylabel(layout.meaning)
        round_ticks(axes.xaxis, 5, is_whole=True)
        axes.set_title(_title(layout, train, row))
        if place >= min(first + len(rows), EXAMPLES) - 3:
            axes.set_xlabel("step")
    if image is not None:
        figure.colorbar(image, ax=figure.axes, location="left", shrink=0.5, label="deviations from the feature's mean")
    if layout.spans:
        draw_series(figure.add_subplot(grid[0, :3]), layout)
    _draw_beside(figure.add_subplot(grid[0, 3]), layout, parts)
    draw_targets(figure.add_subplot(grid[1:, 3]), layout, parts, by_class=layout.is_per_step)
    if train.inputs[layout.main].shape[2] <= LINES:
        _draw_key(figure, layout, rows)
    caption = "examples of each class, in train" if has_classes else "sequences of train"
    if layout.is_per_step and layout.has_classes:
        caption += ", the class of each step below it"
        draw_class_legend(figure, layout, train)
    if layout.spans:
        several = len({span.series for span in layout.spans}) > 1
        caption = f"{'series' if several else 'a series'}, and windows of {'them' if several else 'it'}"
        caption += " with the values to forecast" if layout.meaning == "value" else f": the {layout.meaning}"
    return caption + (f" ({EXAMPLES} of {len(layout.classes)} classes)" if has_classes and len(rows) > EXAMPLES else "")


def _of_each_class(layout: Layout, train: Samples) -> list[int]:
    assert train.targets is not None
    classes = train.targets.reshape(len(train.targets), -1)[:, 0]
    found = [np.flatnonzero(classes == number) for number in range(len(layout.classes))]
    each = max(1, EXAMPLES // max(1, len(layout.classes)))
    return [int(row) for rows in found for row in rows[:each]]


def _spread(train: Samples, some: int) -> list[int]:
    """Evenly spaced samples from the first to the last: in a series, over all of its time."""
    return [int(row) for row in np.unique(np.linspace(0, train.seen - 1, some).astype(int))]


def _title(layout: Layout, train: Samples, row: int) -> str:
    if layout.has_classes and not layout.is_per_step and train.targets is not None:
        return f"class {shortened(layout.classes[int(train.targets.reshape(len(train.targets), -1)[row, 0])], 18)}"
    series = next((s.series for s in layout.spans if s.part == train.part and row in s.rows), "")
    return f"sample {row + 1:,}" + (f", {shortened(series, 18)}" if series else "")


def _draw_target(axes: Axes, layout: Layout, train: Samples, row: int, steps: int) -> None:
    """The target values of a sequence, after its end, where those of a forecast are."""
    if layout.task != "regression" or layout.is_per_step or layout.is_reconstruction or train.targets is None:
        return
    values = train.targets[row].reshape(layout.horizon, -1) if layout.spans else train.targets[row].reshape(-1, 1)
    places = np.arange(steps + 1, steps + 1 + len(values))
    is_several = 1 < values.shape[1] <= LINES  # in the colours of their features, which come first
    for number, column in enumerate(values.T):
        inner = COLOURS[number] if is_several else "black"
        axes.plot(places, column, "o-", color="black", markerfacecolor=inner, markersize=3.5, linewidth=1.2)


def _draw_labels(axes: Axes, layout: Layout, train: Samples, row: int, steps: int) -> None:
    """The class of each step, as a mark below it, in the colours of the class panel."""
    if not (layout.is_per_step and layout.has_classes) or train.targets is None:
        return
    labels = train.targets[row].reshape(train.targets.shape[1], -1)[:steps, 0]
    known = labels >= 0
    of_class = class_colours(layout, train)
    colours = [of_class.get(int(label), OTHERS) for label in labels[known]]
    places = np.arange(1, steps + 1)[known]
    axes.bar(places, 0.04, width=1.0, color=colours, transform=axes.get_xaxis_transform())


def _draw_filled(axes: Axes, layout: Layout, row: int, sequence: Array) -> None:
    """A hollow mark at each value that was not measured."""
    if layout.filled is None:
        return
    for feature in range(sequence.shape[1]):
        steps = np.flatnonzero(layout.filled[row, : len(sequence), feature])
        if len(steps):
            axes.plot(
                steps + 1, sequence[steps, feature], "o", color=COLOURS[feature], markerfacecolor="white", markersize=4
            )


def _draw_key(figure: Figure, layout: Layout, rows: Sequence[int]) -> None:
    """The legend of the lines and marks of these samples, below all panels."""
    handles = [Line2D([], [], color=colour) for colour, _ in zip(COLOURS, layout.features[:LINES], strict=False)]
    names = [shortened(name, 16) for name in layout.features[:LINES]]
    if any(line.get_color() == "black" for axes in figure.axes for line in axes.get_lines()):
        handles, names = [*handles, Line2D([], [], color="black", marker="o", markersize=3.5)], [*names, "target"]
    if layout.filled is not None and layout.filled[rows].any():
        hollow = Line2D([], [], color="black", linestyle="", marker="o", markerfacecolor="white", markersize=4)
        handles, names = [*handles, hollow], [*names, "filled"]
    figure.legend(handles, names, frameon=False, loc="outside lower left", ncols=len(names))


def _draw_beside(axes: Axes, layout: Layout, parts: Sequence[Samples]) -> None:
    """The distribution of the lengths, or of the values where all sequences are equally long."""
    labels = [samples.part for samples in parts[:2]]
    lengths = [length for samples in parts[:2] if (length := layout.length_of(samples)) is not None]
    if len({int(length) for array in lengths for length in (array.min(), array.max())}) > 1:
        draw_histogram(axes, lengths, labels, PART_COLOURS)
        axes.set_title("lengths")
        axes.set_xlabel("steps")
    else:
        draw_histogram(axes, [layout.steps(samples).reshape(-1) for samples in parts[:2]], labels, PART_COLOURS)
        axes.set_title(f"all values, {int(lengths[0][0])} steps each")
        axes.set_xlabel(layout.meaning)
    axes.set_ylabel("share")
    axes.legend(frameon=False)


def _moments(layout: Layout, train: Samples) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature, so that a feature with large values does not hide the others."""
    steps: Array = layout.steps(train).astype(np.float64)
    steps[~np.isfinite(steps)] = np.nan
    known = np.maximum(np.isfinite(steps).sum(axis=0), 1)
    mean = np.nansum(steps, axis=0) / known
    deviation = np.sqrt(np.nansum((steps - mean) ** 2, axis=0) / known)
    return mean, np.where(deviation > 0, deviation, 1.0)
