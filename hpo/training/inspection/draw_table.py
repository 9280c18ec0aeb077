"""A picture of a table: the target, and histograms of the columns that are most related to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Array, Samples
from hpo.training.inspection.style import (
    COLOURS,
    PART_COLOURS,
    draw_class_legend,
    draw_histogram,
    draw_targets,
    shortened,
)

PANELS = 12
MOST_CLASSES = 3  # distinguishable in one histogram


def draw_table(figure: Figure, layout: Layout, parts: Sequence[Samples]) -> str:
    """Fill the figure; returns its caption."""
    train = parts[0]
    columns = layout.columns(train)
    order = _most_related(layout, train, columns)[: PANELS - 1]
    across = 4 if len(order) > 5 else 3
    down = -(-(len(order) + 1) // across)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    by_class = layout.has_classes and not layout.is_per_step and len(layout.classes) <= MOST_CLASSES
    draw_targets(panels[0], layout, parts, by_class=by_class)
    for number, (axes, column) in enumerate(zip(panels[1:], order, strict=False)):
        if by_class and train.targets is not None:
            classes = train.targets.reshape(len(train.targets), -1)[:, 0]
            groups = [columns[classes == n, column] for n in range(len(layout.classes))]
            draw_histogram(axes, groups, layout.classes, COLOURS)
        else:
            groups = [layout.columns(samples)[:, column] for samples in parts[:2]]
            draw_histogram(axes, groups, [samples.part for samples in parts[:2]], PART_COLOURS)
        axes.set_title(shortened(layout.features[column], 30))
        if (number + 1) % across == 0 or number == 0:
            axes.set_ylabel("share of class" if by_class else "share of part")
    for axes in panels[len(order) + 1 :]:
        axes.set_axis_off()
    if by_class:
        draw_class_legend(figure, layout, train)
    if train.targets is None and len(order) < columns.shape[1]:
        caption = f"the first {len(order)} of {columns.shape[1]} columns"
    elif len(order) == columns.shape[1]:
        caption = f"all {len(order)} columns" if len(order) > 1 else "the only column"
    else:
        caption = f"the {len(order)} of {columns.shape[1]} columns most related to the target"
    return f"{caption}, by class, in train" if by_class else caption


def _most_related(layout: Layout, train: Samples, columns: Array) -> list[int]:
    """Columns by the variance that the target explains; in their own order if all fit or there is no target."""
    if columns.shape[1] < PANELS or train.targets is None:
        return list(range(columns.shape[1]))
    target = train.targets.reshape(len(train.targets), -1)[:, 0]
    explained = [_explained(columns[:, column], target, layout.has_classes) for column in range(columns.shape[1])]
    return [int(column) for column in np.argsort(-np.array(explained), kind="stable")]


def _explained(column: Array, target: Array, has_classes: bool) -> float:
    """The share of a column's variance between the classes, or its squared correlation with the target."""
    known = np.isfinite(column) & np.isfinite(target)
    column, target = column[known].astype(np.float64), target[known].astype(np.float64)
    if len(column) < 2 or np.ptp(column) == 0 or np.ptp(target) == 0:
        return 0.0
    if not has_classes:
        return float(np.corrcoef(column, target)[0, 1] ** 2)
    _, numbers, counts = np.unique(target, return_inverse=True, return_counts=True)
    means = np.bincount(numbers, column) / counts
    return float((counts * (means - column.mean()) ** 2).sum() / (len(column) * column.var()))
